// --recompute: activations that backward computes again, as a user meets it.
#include <fmt/format.h>

#include "program_fixture.h"

namespace cllm::cli {
namespace {

using testing::ContainsRegex;
using testing::HasSubstr;
using testing::Not;

class RecomputeTest : public ProgramTest {
 protected:
  /// Where activations are most of what a run takes, 0.2 GB.
  Arguments deep(const std::string& out, const Arguments& more = {}) const {
    return Arguments{"--layers",     "10",  "--heads",       "4", "--channels",       "64",
                     "--context",    "512", "--batch",       "6", "--micro-batch",    "6",
                     "--steps",      "2",   "--threads",     "1", "--eval-sequences", "4",
                     "--eval-every", "0",   "--token-block", "64"} +
           Arguments{"--out", out} + more;
  }
};

TEST_F(RecomputeTest, GivesTheSameBitsOnAnyRanksAndThreads) {
  const auto trained = [&](int ranks, const std::string& layers, const std::string& threads) {
    const std::string out = fmt::format("run-{}-{}-{}", ranks, layers, threads);
    const Arguments options = tiny(
        out, 10, {"--layers", "5", "--batch", "6", "--threads", threads, "--recompute", layers});
    succeed_on(ranks, options);
    return digests(out);
  };
  const std::vector<std::string> kept = trained(1, "0", "1");
  EXPECT_EQ(trained(1, "auto", "1"), kept);
  EXPECT_EQ(trained(1, "1", "2"), kept);
  EXPECT_EQ(trained(1, "3", "1"), kept);
  EXPECT_EQ(trained(2, "2", "2"), kept);
}

TEST_F(RecomputeTest, TheMemoryBudgetIsRight) { expect_right_budget({"--recompute", "2"}); }

TEST_F(RecomputeTest, AsFewLayersAsMemoryAllows) {
  if (!may_mount()) GTEST_SKIP() << "needs the right to mount: run as root with unshare";
  const auto with_megabytes = [&](int megabytes, const Arguments& arguments) {
    return run(privately(
        fmt::format("mount -t tmpfs none /sys/fs/cgroup && cd /sys/fs/cgroup && "
                    "echo {}000000 > memory.max && echo 0 > memory.current && cd - && exec \"$@\"",
                    megabytes),
        command_for(1, arguments)));
  };
  const ChildResult enough = with_megabytes(2000, deep("enough"));
  EXPECT_EQ(enough.exit_code, 0) << enough.err;
  EXPECT_THAT(enough.out, Not(HasSubstr("computed again")));
  const ChildResult little = with_megabytes(190, deep("little"));
  EXPECT_EQ(little.exit_code, 0) << little.err;
  EXPECT_THAT(little.out, ContainsRegex("activations of [1-7] of 10 layers are computed again in "
                                        "backward, which saves 0\\.[0-9]+ GB per rank"));
  EXPECT_EQ(digests("little"), digests("enough"));
  // As asked for, although it isn't enough.
  expect_one_sentence(with_megabytes(190, deep("none", {"--recompute", "0"})),
                      "the run needs about .* are free; .*--recompute auto");
}

TEST_F(RecomputeTest, MoreLayersThanThereAreIsRefused) {
  expect_one_sentence(program(tiny("run", 2, {"--layers", "4", "--recompute", "3"})),
                      "--recompute 3: .* at most 2 can be computed again");
  expect_one_sentence(program({"bench", "--preset", "tiny", "--recompute", "9"}), "--recompute 9");
  expect_one_sentence(program(tiny("run", 2, {"--recompute", "all"})),
                      "--recompute all: give auto, or a number of layers");
  EXPECT_THAT(files_in("run"), testing::IsEmpty());
}

}  // namespace
}  // namespace cllm::cli
