#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "program_fixture.h"

namespace cllm::cli {
namespace {

using testing::ContainsRegex;
using testing::HasSubstr;
using testing::Not;

class RanksTest : public ProgramTest {
 protected:
  /// The validation loss after 200 steps on so many ranks and threads of each.
  double validation_loss(int ranks, int threads, const Arguments& more = {}) const {
    const std::string out = fmt::format("run-{}x{}-{}", ranks, threads, fmt::join(more, ""));
    const Arguments options = tiny(out, 200,
                                   Arguments{"--threads", std::to_string(threads), "--eval-every",
                                             "0", "--eval-sequences", "64"} +
                                       more);
    if (ranks == 1) {
      program(options);  // may warn of more threads than processors
    } else {
      succeed_on(ranks, options);
    }
    const std::vector<double> losses = values(out, "val_loss");
    return losses.empty() ? std::nan("") : losses.back();
  }
};

// The gradient's sum is taken in another order, so that its last bits differ and grow with the
// steps; 1e-4 is what the program promises for 200.
TEST_F(RanksTest, TheResultDoesNotDependOnRanksAndThreads) {
  constexpr double kPromised = 1e-4;
  const double expected = validation_loss(1, 1);
  EXPECT_NEAR(validation_loss(1, 2), expected, kPromised);
  EXPECT_NEAR(validation_loss(2, 1), expected, kPromised);
  EXPECT_NEAR(validation_loss(2, 2), expected, kPromised);
  EXPECT_NEAR(validation_loss(4, 1), expected, kPromised);
  EXPECT_NEAR(validation_loss(3, 1), expected, kPromised);  // which divides nothing
  // That this can be told apart: another order of data does not come so near.
  EXPECT_GT(std::abs(validation_loss(1, 1, {"--seed", "2"}) - expected), kPromised);
}

TEST_F(RanksTest, MoreRanksThanMicroBatchesAreIdleButDoNoHarm) {
  succeed_on(4, tiny("run", 5, {"--batch", "2", "--micro-batch", "1"}));
  succeed(tiny("alone", 5, {"--batch", "2", "--micro-batch", "1"}));
  // Five steps from the same bits: the difference is of a few roundings of a loss near 5.
  EXPECT_NEAR(values("run", "val_loss").back(), values("alone", "val_loss").back(), 1e-5);
}

TEST_F(RanksTest, Rank0AloneSpeaks) {
  const ChildResult result = succeed_on(2, tiny("run", 10));
  for (const char* beginning : {"cllm-dist ", "model ", "data ", "batch ", "done: ", "try: "}) {
    EXPECT_EQ(count_lines(result.out, beginning), 1) << beginning;
  }
  EXPECT_THAT(result.out, ContainsRegex("hosts   host +ranks +threads each"));
  std::vector<std::string> lines = lines_of(result.out);
  std::ranges::sort(lines);
  const auto twice = std::ranges::adjacent_find(lines);
  EXPECT_EQ(twice, lines.end()) << "said twice: " << *twice;
  EXPECT_EQ(values("run", "loss").size(), 10u);
}

TEST_F(RanksTest, RanksThatCannotShareMemorySumWithoutItAndSaySoOnce) {
  if (!may_mount()) GTEST_SKIP() << "needs the right to mount: run as root with unshare";
  const Arguments ring = {"--allreduce", "ring"};
  const ChildResult result =
      run(privately("mount -t tmpfs -o size=64k none /dev/shm && exec \"$@\"",
                    command_for(2, tiny("run", 5, ring))),
          {{"OMPI_MCA_btl_vader_backing_directory", directory().string()}});
  if (result.err.find("Init_thread") != result.err.npos) {
    GTEST_SKIP() << "this MPI library itself starts with shared memory only";
  }
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(count_lines(result.err, "warning: "), 1) << result.err;
  EXPECT_THAT(result.err, HasSubstr("cannot share"));
  const ChildResult with = succeed_on(2, tiny("with", 5, ring));
  EXPECT_THAT(with.err, Not(HasSubstr("cannot share")));
  EXPECT_EQ(digests("run"), digests("with"));
}

TEST_F(RanksTest, CommandsSayOnceWhatOneRankWouldSay) {
  write("text.txt", sample_text(100));
  succeed(tiny("run", 5));
  for (const Arguments& command : {Arguments{"--version"}, Arguments{"--help"},
                                   Arguments{"sample", "--help"}, Arguments{"inspect", "run"},
                                   Arguments{"sample", "--checkpoint", "run", "--tokens", "20"}}) {
    EXPECT_EQ(succeed_on(2, command).out, succeed(command).out) << testing::PrintToString(command);
  }
  const ChildResult eval =
      succeed_on(2, {"eval", "--checkpoint", "run", "--data", "text.txt", "--threads", "1"});
  EXPECT_EQ(count_lines(eval.out, "loss "), 1);
  succeed_on(2, {"tokenize", "--data", "text.txt", "--out", "text.tokens"});
  succeed({"tokenize", "--data", "text.txt", "--out", "alone.tokens"});
  EXPECT_EQ(read("text.tokens"), read("alone.tokens"));
}

}  // namespace
}  // namespace cllm::cli
