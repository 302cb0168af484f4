// What a user sees of the engine: bench, trace, memory budget, and its options.
#include <fmt/format.h>

#include <cstdint>
#include <set>

#include "program_fixture.h"

namespace cllm::cli {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::IsSupersetOf;

class EngineTest : public ProgramTest {};

TEST_F(EngineTest, BenchSaysHowFastThisMachineTrains) {
  const Arguments bench = {"bench", "--preset",  "tiny", "--family", "gpt2", "--batch",
                           "8",     "--threads", "1",    "--steps",  "5"};
  const ChildResult text = succeed(bench);
  for (const char* line :
       {"tokens/s ", "model FLOP/s ", "register peak ", "share of peak ", "OpenBLAS 2048^3 "}) {
    EXPECT_EQ(count_lines(text.out, line), 1) << line;
  }
  const auto result = nlohmann::json::parse(succeed(bench + Arguments{"--json"}).out);
  EXPECT_GT(result.at("tokens_per_s"), 0);
  const double share = result.at("share_of_sgemm");
  EXPECT_GT(share, 0);
  EXPECT_LT(share, 1);
  // 2 layers of 12 C² + 13 C, the table, the last norm; positions are only looked up.
  const double parameters = 2 * (12 * 64 * 64 + 13 * 64) + 256 * 64 + 2 * 64;
  EXPECT_NEAR(result.at("model_gflops").get<double>() * 1e9,
              result.at("tokens_per_s").get<double>() * (6 * parameters + 6 * 2 * 64 * 64), 1e3);
  double sum = 0;
  for (const auto& [name, part] : result.at("shares").items()) {
    EXPECT_GE(part, 0) << name;
    sum += part.get<double>();
  }
  EXPECT_NEAR(sum, 1, 0.2);  // what is left is between the spans
  EXPECT_LT(result.at("last_loss"), result.at("first_loss").get<double>() + 1);
}

TEST_F(EngineTest, BenchRunsOnSeveralRanks) {
  const ChildResult result = succeed_on(
      2, {"bench", "--preset", "tiny", "--batch", "8", "--threads", "1", "--steps", "3", "--json"});
  EXPECT_EQ(nlohmann::json::parse(result.out).at("ranks"), 2);
}

TEST_F(EngineTest, ATraceHasARowForEachThreadOfEachRank) {
  const ChildResult result =
      succeed_on(2, tiny("run", 6, {"--trace", "3:4", "--micro-batch", "1", "--threads", "2"}));
  EXPECT_THAT(result.out, HasSubstr("trace.json"));
  const auto trace = nlohmann::json::parse(read("run/trace.json"));
  std::set<std::pair<int, int>> rows;
  std::set<std::string> names;
  for (const auto& event : trace.at("traceEvents")) {
    if (event.at("ph") != "X") continue;
    rows.emplace(event.at("pid"), event.at("tid"));
    names.insert(event.at("name").get<std::string>());
    EXPECT_GE(event.at("dur"), 0);
    EXPECT_LT(event.at("ts"), 60e6);  // from the beginning of the trace
  }
  EXPECT_EQ(rows.size(), 6u);  // two compute threads and one that communicates, twice
  EXPECT_THAT(names, IsSupersetOf({"forward", "head", "backward h.1", "backward h.0",
                                   "backward embeddings", "node sum", "update"}));
  EXPECT_THAT(names, Contains(HasSubstr("allreduce")));
}

TEST_F(EngineTest, TheMemoryBudgetIsRight) { expect_right_budget({}); }

/// A nanoGPT token file: few tokens are frequent, most are rare.
std::string token_bytes(std::size_t count) {
  std::string bytes;
  std::uint64_t state = 1;
  for (std::size_t i = 0; i < count; ++i) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    const double at = static_cast<double>(state >> 33) / 0x1p31;
    const auto token = static_cast<std::uint16_t>(50'000 * at * at * at * at);
    bytes.push_back(static_cast<char>(token & 255));
    bytes.push_back(static_cast<char>(token >> 8));
  }
  return bytes;
}

TEST_F(EngineTest, TheMemoryBudgetIsRightWhereTheCorpusIsStudied) {
  write("tokens.bin", token_bytes(400'000));
  const ChildResult result =
      succeed({"--preset", "tiny", "--data", "tokens.bin", "--embedding-init", "corpus", "--batch",
               "1", "--steps", "1", "--threads", "1", "--eval-sequences", "4", "--out", "run"});
  double budget = 0, peak = 0;
  for (const std::string& line : lines_of(result.out)) {
    if (line.starts_with("memory ")) budget = std::stod(line.substr(7));
    if (line.starts_with("peak ")) peak = std::stod(line.substr(5));
  }
  EXPECT_GT(peak, 0.1);
  EXPECT_NEAR(budget / peak, 1, 0.1) << result.out;
}

TEST_F(EngineTest, OptionsThatMakeNoSenseAreNamed) {
  for (const auto& [option, value] : {std::pair{"--reduce", "fp64"},
                                      {"--allreduce", "tree"},
                                      {"--team", "0"},
                                      {"--team", "x"},
                                      {"--token-block", "0"},
                                      {"--trace", "5"},
                                      {"--trace", "5:4"},
                                      {"--trace", "5:99999"},
                                      {"--trace", "0:4"}}) {
    expect_one_sentence(program({option, value}), fmt::format("{} {}", option, value));
  }
  expect_one_sentence(program({"bench", "--steps", "0"}), "--steps 0");
}

}  // namespace
}  // namespace cllm::cli
