// The same bits on any number of ranks, threads and threads of a team, as a user sees it.
#include <fmt/format.h>

#include <filesystem>

#include "program_fixture.h"

namespace cllm::cli {
namespace {

class DeterminismTest : public ProgramTest {
 protected:
  /// The digests of parameters, m and v after so many steps.
  std::vector<std::string> trained(int ranks, const Arguments& more, int steps = 30) {
    const std::string out = fmt::format("run-{}", ++runs_);
    const Arguments options = tiny(
        out, steps, Arguments{"--batch", "13", "--micro-batch", "1", "--eval-every", "0"} + more);
    // More threads than processors are warned of, so that stderr need not be empty.
    const ChildResult result = ranks == 1 ? program(options) : program_on(ranks, options);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return digests(out);
  }

  /// 13 sequences, which none of the splits divides. Three ranks, which no sum finds easy, add up
  /// in every way; others in the first.
  void expect_same_bits_on_every_split(const Arguments& data, const Arguments& allreduces) {
    const std::vector<std::string> alone = trained(1, data);
    for (const auto& [ranks, threads] :
         {std::pair{1, 2}, {1, 3}, {1, 4}, {2, 1}, {2, 2}, {3, 1}, {4, 1}}) {
      for (const std::string& allreduce : allreduces) {
        if (ranks != 3 && allreduce != allreduces.front()) continue;
        const Arguments split = {"--threads", std::to_string(threads), "--allreduce", allreduce};
        EXPECT_EQ(trained(ranks, data + split), alone)
            << ranks << " x " << threads << " by " << allreduce;
      }
    }
  }

 private:
  int runs_ = 0;
};

TEST_F(DeterminismTest, OnTheBuiltinCorpus) {
  expect_same_bits_on_every_split({}, {"ring", "halving", "flat", "mpi"});
}

TEST_F(DeterminismTest, OnTinyshakespeare) {
  const std::filesystem::path text = std::filesystem::path(CLLM_DATA_DIR) / "tinyshakespeare.txt";
  if (!std::filesystem::exists(text)) GTEST_SKIP() << text << " is not there";
  // How ranks add up knows nothing of where tokens come from.
  expect_same_bits_on_every_split({"--data", text.string()}, {"ring"});
}

TEST_F(DeterminismTest, WithTeamsOfAnySize) {
  const Arguments micro_batches = {"--batch", "12", "--micro-batch", "4", "--token-block", "32"};
  const std::vector<std::string> alone = trained(1, micro_batches);
  for (const char* team : {"1", "2", "3", "4"}) {
    EXPECT_EQ(trained(1, micro_batches + Arguments{"--team", team, "--threads", team}), alone)
        << team;
    EXPECT_EQ(trained(2, micro_batches + Arguments{"--team", team, "--threads", "2"}), alone)
        << team;
  }
}

// Were this not so, the tests above would test nothing.
TEST_F(DeterminismTest, FloatSumsDifferBetweenSplits) {
  EXPECT_NE(trained(1, {"--reduce", "fp32"}), trained(2, {"--reduce", "fp32"}));
}

TEST_F(DeterminismTest, AResumedRunMayHaveOtherRanksAndThreads) {
  const Arguments options = {"--batch",    "13",       "--micro-batch", "1",
                             "--schedule", "constant", "--warmup",      "0"};
  succeed(tiny("straight", 20, options));
  succeed_on(2, tiny("stopped", 10, options));
  EXPECT_EQ(program({"--resume", "stopped", "--steps", "20", "--threads", "3"}).exit_code, 0);
  EXPECT_EQ(digests("stopped"), digests("straight"));
}

}  // namespace
}  // namespace cllm::cli
