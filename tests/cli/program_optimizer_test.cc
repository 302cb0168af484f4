// The choice of an optimizer, as a user sees it.
#include <fmt/format.h>

#include <filesystem>

#include "program_fixture.h"

namespace cllm::cli {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::Not;

/// A schedule that does not ask how long the run is.
const Arguments kConstant = {"--schedule", "constant", "--warmup", "0"};
const Arguments kMuon = Arguments{"--optimizer", "muon"} + kConstant;

class OptimizerTest : public ProgramTest {
 protected:
  /// The digests of what a run ends with: 13 sequences, which no number of ranks divides.
  std::vector<std::string> trained(int ranks, const Arguments& more) {
    const std::string out = fmt::format("run-{}", ++runs_);
    const Arguments options =
        tiny(out, 20,
             kMuon + Arguments{"--batch", "13", "--micro-batch", "1", "--eval-every", "0"} + more);
    const ChildResult result = ranks == 1 ? program(options) : program_on(ranks, options);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return digests(out);
  }

 private:
  int runs_ = 0;
};

TEST_F(OptimizerTest, MuonGivesTheSameBitsOnAnyRanksAndThreads) {
  const std::vector<std::string> alone = trained(1, {});
  EXPECT_THAT(alone, Contains(HasSubstr("/muon/m/h.0.attn.c_attn.weight")));
  EXPECT_THAT(alone, Contains(HasSubstr("/adam/v/wte.weight")));
  EXPECT_THAT(alone, Not(Contains(HasSubstr("/adam/v/h.0.attn.c_attn.weight"))));
  for (const auto& [ranks, threads] : {std::pair{1, 2}, {1, 3}, {2, 1}, {2, 2}, {3, 1}}) {
    EXPECT_EQ(trained(ranks, {"--threads", std::to_string(threads)}), alone)
        << ranks << " x " << threads;
  }
  EXPECT_NE(trained(1, {"--muon-momentum", "0.9"}), alone);
  EXPECT_NE(trained(1, {"--muon-iteration", "polar-express"}), alone);
}

TEST_F(OptimizerTest, AResumedRunOfMuonEndsAsOneThatNeverStopped) {
  succeed(tiny("straight", 20, kMuon));
  succeed_on(2, tiny("stopped", 10, kMuon + Arguments{"--check-replicas", "3"}));
  EXPECT_THAT(succeed({"verify", "stopped"}).out, HasSubstr("whole"));
  // Options that are not given are those of the checkpoint.
  EXPECT_THAT(succeed({"--resume", "stopped", "--steps", "20", "--check-replicas", "0"}).out,
              HasSubstr("at step 10"));
  EXPECT_EQ(digests("straight"), digests("stopped"));
  EXPECT_EQ(values("straight", "loss"), values("stopped", "loss"));
}

TEST_F(OptimizerTest, ARunThatWentBackTakesTheSameSteps) {
  const Arguments options = kMuon + Arguments{"--checkpoint-every", "5", "--check-replicas", "5"};
  succeed(tiny("straight", 10, options));
  succeed(tiny("back", 10, options));
  succeed({"--resume", "back/step-00000005.h5", "--steps", "10"});
  EXPECT_EQ(digests("straight"), digests("back"));
}

TEST_F(OptimizerTest, AnotherOptimizerCantGoOnWithARun) {
  for (const auto& [was, other] : {std::pair{"muon", "adamw"}, {"adamw", "muon"}}) {
    succeed(tiny(was, 5, Arguments{"--optimizer", was} + kConstant));
    const std::string sentence = fmt::format(
        "^cllm-dist: --optimizer {}: .*step-00000005.h5 was trained with {}.*"
        "--init-from",
        other, was);
    expect_one_sentence(program({"--resume", was, "--optimizer", other, "--steps", "8"}), sentence);
    expect_one_sentence(program_on(2, {"--resume", was, "--optimizer", other, "--steps", "8"}),
                        sentence);
    const std::string out = std::string(was) + "-on";
    EXPECT_THAT(succeed(tiny(out, 3, {"--init-from", was, "--optimizer", other})).out,
                HasSubstr("weights from"));
    EXPECT_EQ(values(out, "loss").size(), 3u);
  }
}

TEST_F(OptimizerTest, OptionsThatMakeNoSenseAreNamed) {
  for (const auto& [option, value] : {std::pair{"--optimizer", "sgd"},
                                      {"--muon-momentum", "1"},
                                      {"--muon-momentum", "-0.5"},
                                      {"--muon-iteration", "cubic"}}) {
    expect_one_sentence(program({option, value}), fmt::format("{} {}", option, value));
  }
}

TEST_F(OptimizerTest, BenchSaysWhatMuonsProductsTake) {
  const Arguments bench = {"bench", "--preset", "tiny", "--batch",     "8",    "--threads",
                           "1",     "--steps",  "3",    "--optimizer", "muon", "--json"};
  for (const int ranks : {1, 2}) {
    const ChildResult result = ranks == 1 ? succeed(bench) : succeed_on(ranks, bench);
    const auto json = nlohmann::json::parse(result.out);
    EXPECT_EQ(json.at("optimizer"), "muon");
    EXPECT_GT(json.at("shares").at("orthogonalise"), 0);
    EXPECT_LT(json.at("shares").at("orthogonalise"), 1);
  }
  const auto adamw =
      nlohmann::json::parse(succeed({"bench", "--preset", "tiny", "--optimizer", "adamw", "--batch",
                                     "8", "--threads", "1", "--steps", "3", "--json"})
                                .out);
  EXPECT_EQ(adamw.at("shares").at("orthogonalise"), 0);
}

TEST_F(OptimizerTest, TheMemoryBudgetIsRight) { expect_right_budget({"--optimizer", "muon"}); }

}  // namespace
}  // namespace cllm::cli
