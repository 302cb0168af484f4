// The same bits on processors of any kind: what a user's runs come to is written down.
#include <fmt/format.h>

#include <cstdlib>
#include <nlohmann/json.hpp>
#include <span>

#include "cllm/base/digest.h"
#include "cllm/base/file.h"
#include "program_fixture.h"

namespace cllm::cli {
namespace {

/// The environment may name another program, such as one for another processor under an emulator.
constexpr const char* kEmulated = "CLLM_EMULATED";

struct Run {
  std::string name;
  Arguments options;
};

void PrintTo(const Run& run, std::ostream* out) { *out << run.name; }

std::vector<Run> runs() {
  std::vector<Run> result;
  for (const char* family : {"gpt2", "llama", "qwen3", "nanochat"}) {
    for (const char* optimizer : {"adamw", "muon"}) {
      result.push_back({fmt::format("{}_{}", family, optimizer),
                        {"--family", family, "--optimizer", optimizer}});
    }
  }
  result.push_back({"start_from_the_corpus",
                    {"--family", "gpt2", "--optimizer", "adamw", "--embedding-rank", "8",
                     "--embedding-init", "corpus"}});
  result.push_back({"bands_from_the_corpus",
                    {"--embedding-bands", "8:24,20:12,rest:5", "--embedding-init", "corpus"}});
  return result;
}

class BitsTest : public ProgramTest, public testing::WithParamInterface<Run> {
 protected:
  /// One digest of parameters and optimizer state after 30 steps of 13 sequences, which none of the
  /// splits divides.
  std::string trained(int ranks, int threads, const Environment& by = {}) {
    const std::string out = fmt::format("run-{}", ++runs_);
    const Arguments shape = {"--layers",   "2",  "--heads",   "2",
                             "--channels", "24", "--context", "24"};
    const Arguments steps = {"--steps",      "30", "--batch",          "13", "--micro-batch", "1",
                             "--eval-every", "0",  "--eval-sequences", "8",  "--seed",        "5"};
    const Arguments options = shape + steps + GetParam().options +
                              Arguments{"--threads", std::to_string(threads), "--out", out};
    const char* const emulated = std::getenv(kEmulated);
    const ChildResult result =
        run(emulated == nullptr ? command_for(ranks, options) : Arguments{emulated} + options, by);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    std::string all;
    for (const std::string& digest : digests(out)) all += digest + "\n";
    return digest_hex(std::as_bytes(std::span(all)));
  }

  bool has(const std::string& instructions) const {
    return run({"grep", "-qw", instructions, "/proc/cpuinfo"}).exit_code == 0;
  }

 private:
  int runs_ = 0;
};

INSTANTIATE_TEST_SUITE_P(All, BitsTest, testing::ValuesIn(runs()),
                         [](const auto& run) { return run.param.name; });

TEST_P(BitsTest, AreThoseThatAreWrittenDown) {
  const auto golden =
      nlohmann::json::parse(read_file(std::filesystem::path(CLLM_TESTS_DIR) / "golden/bits.json"));
  const std::string expected = golden.value(GetParam().name, "none");
  const auto by = [](const std::string& name) {
    return Environment{{"CLLM_KERNELS", name}, {"CLLM_PRODUCTS", name}};
  };
  EXPECT_EQ(trained(1, 1, by("portable")), expected);
  if (std::getenv(kEmulated) != nullptr || !has("avx2")) return;
  EXPECT_EQ(trained(1, 1, by("avx2")), expected);
  EXPECT_EQ(trained(2, 2), expected);
  EXPECT_EQ(trained(4, 1), expected);
  if (has("avx512vl")) {
    EXPECT_EQ(trained(1, 2, by("avx512")), expected);
  }
  EXPECT_NE(trained(1, 1, {{"CLLM_KERNELS", "reference"}}), expected)
      << "a difference would not be seen";
}

}  // namespace
}  // namespace cllm::cli
