#include <signal.h>

#include <chrono>
#include <thread>

#include "program_fixture.h"

namespace cllm::cli {
namespace {

using testing::HasSubstr;
using testing::Not;

/// The least that --watchdog takes, and the exit code of a job that it ends.
const Arguments kWatchdog = {"--watchdog", "10s"};
constexpr double kWatchdogSeconds = 10;
constexpr int kWatchdogExit = 76;

#ifdef CLLM_SANITIZED
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

constexpr int kEndless = 10'000'000;

/// What becomes of a job of two ranks when something happens to one of them.
class FaultsTest : public ProgramTest {
 protected:
  std::string out() const { return path("run").string(); }

  Arguments endless(const Arguments& more = {}) const {
    return tiny(out(), kEndless, Arguments{"--micro-batch", "1", "--eval-every", "0"} + more);
  }

  /// The command line of a job in which this rank alone has these settings in its environment.
  static Arguments with_rank(int rank, const Arguments& settings, const Arguments& options) {
    Arguments command = mpirun();
    for (int i = 0; i < 2; ++i) {
      if (i > 0) command.emplace_back(":");
      command = command + Arguments{"-np", "1", "env"} + (i == rank ? settings : Arguments{}) +
                Arguments{CLLM_PROGRAM} + options;
    }
    return command;
  }

  /// Runs a job that comes to its end although it is endless, and leaves no process.
  ChildResult run_to_fault(int rank, const std::string& fail_point,
                           const Arguments& more = {}) const {
    const ChildResult result =
        run(with_rank(rank, {"CLLM_FAIL_POINT=" + fail_point}, endless(more)));
    EXPECT_NE(result.exit_code, 0);
    expect_no_rank_left();
    return result;
  }

  void expect_no_rank_left() const {
    EXPECT_TRUE(wait_until([&] { return ranks_with(out()).empty(); }, kPatience))
        << "a rank outlived the job";
  }

  void wait_for_training() const {
    const auto log = path("run/metrics.jsonl");
    std::error_code absent;
    EXPECT_TRUE(wait_until(
        [&] {
          return std::filesystem::exists(log) && std::filesystem::file_size(log, absent) > 1000;
        },
        kPatience));
    EXPECT_EQ(ranks_with(out()).size(), 2u);
  }

  void signal_ranks(int number) const {
    for (const auto& [rank, pid] : ranks_with(out())) ::kill(pid, number);
  }
};

TEST_F(FaultsTest, ARankThatIsKilledTakesAllWithIt) {
  const ChildResult result = run_to_fault(1, "step.begins:5:" + std::to_string(SIGKILL));
  EXPECT_THAT(result.out + result.err,
              testing::ContainsRegex("[Kk]illed|KILLED"));  // the launcher's words
  EXPECT_THAT(files_in("run"), Not(testing::Contains(testing::StartsWith("step-"))));
}

TEST_F(FaultsTest, RanksDoNotOutliveTheirLauncher) {
  support::ChildProcess job = start(command_for(2, endless()));
  wait_for_training();
  ::kill(job.pid(), SIGKILL);
  EXPECT_EQ(wait(job).exit_code, 128 + SIGKILL);
  expect_no_rank_left();
}

TEST_F(FaultsTest, AStoppedRankIsFoundByRank0) {
  const ChildResult result = run_to_fault(1, "step.begins:5:" + std::to_string(SIGSTOP), kWatchdog);
  EXPECT_EQ(result.exit_code, kWatchdogExit);
  expect_one_sentence(result,
                      "rank 0 \\(host .+\\), in .* at step 5: nothing was heard of rank 1 "
                      "\\(host .+\\) for 1[0-9] s, .*; look at that host, .*--resume");
}

TEST_F(FaultsTest, AStoppedRank0IsFoundByTheOthers) {
  const ChildResult result = run_to_fault(0, "step.begins:5:" + std::to_string(SIGSTOP), kWatchdog);
  EXPECT_EQ(result.exit_code, kWatchdogExit);
  expect_one_sentence(result, "rank 1 \\(host .+\\), in .*: nothing was heard of rank 0 \\(host");
}

// As Slurm suspends jobs.
TEST_F(FaultsTest, AJobThatIsSuspendedForLongGoesOn) {
  support::ChildProcess job = start(command_for(2, endless(kWatchdog)));
  wait_for_training();
  signal_ranks(SIGSTOP);
  std::this_thread::sleep_for(std::chrono::duration<double>(1.5 * kWatchdogSeconds));
  signal_ranks(SIGCONT);
  const auto steps = steps_with("run", "loss").size();
  EXPECT_TRUE(wait_until([&] { return steps_with("run", "loss").size() > steps + 5; }, kPatience));
  signal_ranks(SIGUSR1);
  const ChildResult result = wait(job);
  EXPECT_EQ(result.exit_code, 75) << result.err;
  EXPECT_THAT(result.err, Not(HasSubstr("cllm-dist: ")));
}

TEST_F(FaultsTest, AnErrorOfOneRankEndsAllInItsWords) {
  for (const int rank : {0, 1}) {
    const ChildResult result = run_to_fault(rank, "step.begins:5:error", {"--out", out()});
    EXPECT_EQ(result.exit_code, 1);
    expect_one_sentence(
        result, "rank " + std::to_string(rank) + " \\(host .+\\): the fail point step.begins");
    std::filesystem::remove_all(out());
  }
}

// The communication thread waits for what is then not computed, and the other rank for that.
TEST_F(FaultsTest, LackOfMemoryInAComputeThreadEndsAllInWords) {
  for (const char* threads : {"1", "2"}) {
    const ChildResult result =
        run_to_fault(1, "micro-batch.begins:9:memory", {"--threads", threads});
    EXPECT_EQ(result.exit_code, 1);
    expect_one_sentence(result, "rank 1 \\(host .+\\): out of memory; use a smaller model");
    std::filesystem::remove_all(out());
  }
}

TEST_F(FaultsTest, AnEvaluationWithoutMemoryEndsAllAndLosesNoStep) {
  const ChildResult result =
      run_to_fault(1, "evaluation.begins:2:memory", {"--threads", "1", "--eval-every", "3"});
  EXPECT_EQ(result.exit_code, 1);
  expect_one_sentence(result, "there is not enough memory for an evaluation");
  EXPECT_THAT(files_in("run"), testing::Contains("step-00000006.h5"));
}

TEST_F(FaultsTest, ARunThatGoesOnMakesUpForAnEvaluationThatHadNoMemory) {
  const Arguments options = tiny(out(), 6, {"--eval-every", "3", "--threads", "1"});
  const ChildResult failed =
      run(Arguments{"env", "CLLM_FAIL_POINT=evaluation.begins:2:memory", CLLM_PROGRAM} + options);
  EXPECT_EQ(failed.exit_code, 1);
  expect_one_sentence(failed, "there is not enough memory for an evaluation");
  const ChildResult result = run({CLLM_PROGRAM, "--resume", out(), "--threads", "1"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(steps_with("run", "val_loss").size(), 2u);
  EXPECT_THAT(files_in("run"), testing::Contains("complete"));
  EXPECT_THAT(run({CLLM_PROGRAM, "--resume", out(), "--threads", "1"}).out,
              HasSubstr("nothing to do"));
}

TEST_F(FaultsTest, ClocksOfRanksMayDiffer) {
  if (kSanitized) GTEST_SKIP() << "a sanitizer wants to be loaded first";
  const Arguments limits = {"--max-time", "1h", "--checkpoint-every", "1h", "--tensorboard", "off"};
  succeed_on(2, tiny("right", 20, limits));
  const std::vector<std::string> expected = digests("right/step-00000020.h5");
  for (const int rank : {0, 1}) {
    for (const char* offset : {"90000", "-90000"}) {  // more than a day
      const std::string name = "wrong-" + std::to_string(rank) + offset;
      const ChildResult result = run(with_rank(rank,
                                               {"LD_PRELOAD=" + preloadable(CLLM_OTHER_CLOCK),
                                                std::string("CLLM_CLOCK_OFFSET=") + offset},
                                               tiny(name, 20, limits)));
      EXPECT_EQ(result.exit_code, 0) << result.err;
      EXPECT_THAT(result.out, HasSubstr("done: 20 steps in "));
      EXPECT_EQ(files_in(name), files_in("right"));
      EXPECT_EQ(digests(name + "/step-00000020.h5"), expected);
    }
  }
}

// That the clock does go wrong: it names directories.
TEST_F(FaultsTest, TheOtherClockIsAnother) {
  if (kSanitized) GTEST_SKIP() << "a sanitizer wants to be loaded first";
  const Arguments options = {"--preset", "tiny", "--batch", "4", "--threads", "1", "--steps", "1"};
  const Arguments program = Arguments{CLLM_PROGRAM} + options;
  const ChildResult result = run(program, {{"LD_PRELOAD", preloadable(CLLM_OTHER_CLOCK)},
                                           {"CLLM_CLOCK_OFFSET", "-1000000000"}});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, testing::ContainsRegex("checkpoints/199[0-9]"));
}

}  // namespace
}  // namespace cllm::cli
