#include <signal.h>
#include <sysexits.h>

#include <charconv>
#include <ctime>
#include <numeric>

#include "program_fixture.h"

namespace cllm::cli {
namespace {

namespace fs = std::filesystem;
using support::ChildProcess;
using testing::Contains;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

class StopTest : public ProgramTest {
 protected:
  std::string out() const { return path("run").string(); }

  /// Steps that take seconds longer than the programs that ask for a stop.
  static constexpr int kEndless = 1'000'000;

  Arguments options(const std::string& where, int steps) const {
    return tiny(where, steps, {"--eval-every", "7", "--checkpoint-every", "5"}) +
           Arguments{"--schedule", "constant", "--warmup", "4", "--resume", "auto"};
  }

  /// Starts the run anew, to be stopped by SIGSTOP and to go on by SIGCONT at the place that
  /// `fail_point` names.
  ChildProcess start_stopping(int ranks, int steps, const std::string& fail_point) const {
    fs::remove_all(out());
    return start(command_for(ranks, options(out(), steps)),
                 {{"CLLM_FAIL_POINT", fail_point + ':' + std::to_string(SIGSTOP)}});
  }

  static pid_t process_of(const std::string& rank, const std::string& argument) {
    for (const auto& [number, pid] : ranks_with(argument)) {
      if (number == rank) return pid;
    }
    ADD_FAILURE() << "there is no rank " << rank;
    return 0;
  }

  /// Whether a job stopped as one that goes on later; returns after which step.
  int expect_stopped(ChildProcess& child, const std::string& why) const {
    const ChildResult result = wait(child);
    EXPECT_EQ(result.exit_code, EX_TEMPFAIL) << result.out << result.err;
    EXPECT_EQ(count_lines(result.err, "cllm-dist: "), 0) << result.err;
    EXPECT_THAT(result.out, HasSubstr(", saved: " + why + "; to go on: cllm-dist --resume "));
    const std::string said = "\nstopped after step ";
    int step = -1;
    const std::size_t at = std::min(result.out.find(said) + said.size(), result.out.size());
    std::from_chars(result.out.data() + at, result.out.data() + result.out.size(), step);
    const std::string number = std::to_string(step);
    const std::string name = "step-" + std::string(8 - number.size(), '0') + number + ".h5";
    const std::vector<std::string> files = files_in("run");
    EXPECT_THAT(files, Contains(name));
    EXPECT_THAT(files, Not(Contains("complete")));
    EXPECT_THAT(files, Not(Contains(StartsWith("."))));
    EXPECT_EQ(read("run/latest"), name + "\n");
    return step;
  }

  /// Goes on to `steps`, and compares with a run that was never stopped.
  void expect_same_end(int steps) {
    if (undisturbed_.empty()) {
      succeed(options("undisturbed", steps));
      undisturbed_ = digests("undisturbed");
    }
    succeed(options(out(), steps));
    EXPECT_EQ(digests("run"), undisturbed_);
    EXPECT_EQ(values("run", "loss"), values("undisturbed", "loss"));
    std::vector<int> all(static_cast<std::size_t>(steps));
    std::iota(all.begin(), all.end(), 1);
    EXPECT_EQ(steps_with("run", "loss"), all);
    EXPECT_EQ(values("run", "val_loss"), values("undisturbed", "val_loss"));
    EXPECT_EQ(read("run/complete"), std::to_string(steps) + " steps\n");
  }

 private:
  std::vector<std::string> undisturbed_;
};

constexpr const char* kSignal = "a signal asked for it";

TEST_F(StopTest, EachOfTheSignalsStopsWhatGoesOnLater) {
  for (const int signal : {SIGUSR1, SIGUSR2, SIGTERM, SIGINT, SIGHUP}) {
    SCOPED_TRACE(signal);
    ChildProcess child = start_stopping(1, 40, "h5.written:2");
    EXPECT_EQ(wait_until_stopped(out()), child.pid());
    child.signal(signal);
    child.signal(SIGCONT);
    const int step = expect_stopped(child, kSignal);
    EXPECT_GE(step, 10);
    EXPECT_LT(step, 40);
    expect_same_end(40);
  }
}

TEST_F(StopTest, ASignalToAnyRankStopsAll) {
  int signal = SIGUSR1;
  for (const std::string rank : {"1", "0", "1"}) {
    SCOPED_TRACE(signal);
    ChildProcess child = start_stopping(2, 40, "h5.written:1");
    const pid_t first = wait_until_stopped(out());
    ::kill(process_of(rank, out()), signal);
    ::kill(first, SIGCONT);
    expect_stopped(child, kSignal);
    expect_same_end(40);
    signal = signal == SIGUSR1 ? SIGUSR2 : SIGTERM;
  }
}

TEST_F(StopTest, ASignalWhileACheckpointIsWrittenAndMoreOfThem) {
  // The one that comes while the writer writes, before anybody knows of another.
  fs::remove_all(out());
  ChildProcess itself = start(command_for(1, options(out(), 40)),
                              {{"CLLM_FAIL_POINT", "h5.written:1:" + std::to_string(SIGUSR1)}});
  EXPECT_GE(expect_stopped(itself, kSignal), 5);
  expect_same_end(40);

  // Two at once, and then one after the other for as long as there is somebody to take them.
  ChildProcess child = start_stopping(1, 40, "h5.written:1");
  wait_until_stopped(out());
  child.signal(SIGUSR1);
  child.signal(SIGTERM);
  child.signal(SIGCONT);
  wait_until(
      [&] {
        child.signal(SIGTERM);
        return !child.is_running();
      },
      kPatience);
  EXPECT_GE(expect_stopped(child, kSignal), 5);
  expect_same_end(40);
}

TEST_F(StopTest, ASignalBeforeTheFirstStep) {
  // As soon as the program has begun, and MPI has not.
  ChildProcess child = start(command_for(1, options(out(), 40)),
                             {{"CLLM_FAIL_POINT", "mpi.starts:1:" + std::to_string(SIGTERM)}});
  EXPECT_EQ(expect_stopped(child, kSignal), 0);
  expect_same_end(40);

  // When all is there and the run is about to begin.
  fs::remove_all(out());
  ChildProcess later = start(command_for(2, options(out(), 40)),
                             {{"CLLM_FAIL_POINT", "toml.written:1:" + std::to_string(SIGUSR2)}});
  EXPECT_EQ(expect_stopped(later, kSignal), 0);
  // Who is asked to stop again, before there is more, has nothing more to save.
  ChildProcess again = start(command_for(1, options(out(), 40)),
                             {{"CLLM_FAIL_POINT", "toml.written:1:" + std::to_string(SIGUSR1)}});
  EXPECT_EQ(expect_stopped(again, kSignal), 0);
  expect_same_end(40);
}

TEST_F(StopTest, ASignalInTheLastStepIsNoReasonToComeBack) {
  const std::string last = std::to_string(SIGUSR1);
  const auto completes = [&](int ranks, const std::string& visit) {
    fs::remove_all(out());
    const ChildResult result =
        run(command_for(ranks, options(out(), 7) + Arguments{"--checkpoint-write", "blocking"}),
            {{"CLLM_FAIL_POINT", "h5.written:" + visit + ":" + last}});
    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_THAT(result.out, HasSubstr("\ndone: 7 steps"));
    EXPECT_EQ(read("run/complete"), "7 steps\n");
  };
  completes(1, "2");  // while the last checkpoint is written
  completes(2, "2");
  // While that of step 5 is written, a run of 6 has one more step to take: the boundary after it is
  // the first at which the signal is seen, and the last of all.
  fs::remove_all(out());
  const ChildResult result =
      run(command_for(1, options(out(), 6) + Arguments{"--checkpoint-write", "blocking"}),
          {{"CLLM_FAIL_POINT", "h5.written:1:" + last}});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(read("run/complete"), "6 steps\n");
}

TEST_F(StopTest, ASignalAfterTheLastStepChangesNothing) {
  const Environment environment = {{"CLLM_FAIL_POINT", "mpi.ends:1:" + std::to_string(SIGTERM)}};
  for (const int ranks : {1, 2}) {
    const std::string name = "run-" + std::to_string(ranks);
    const ChildResult result = run(command_for(ranks, options(name, 7)), environment);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_THAT(files_in(name), Contains("complete"));
  }
}

TEST_F(StopTest, OtherCommandsEndByASignalAsProgramsDo) {
  succeed(options(out(), 10));
  const Arguments endless = {CLLM_PROGRAM, "sample",   "--checkpoint",
                             out(),        "--tokens", std::to_string(kEndless)};
  ChildProcess child = start(endless);
  EXPECT_TRUE(wait_until([&] { return !child.out().empty(); }, kPatience));
  child.signal(SIGTERM);
  EXPECT_EQ(wait(child).exit_code, 128 + SIGTERM);
  // One that came too early to be known as theirs.
  const ChildResult early =
      run(endless, {{"CLLM_FAIL_POINT", "mpi.starts:1:" + std::to_string(SIGTERM)}});
  EXPECT_EQ(early.exit_code, 128 + SIGTERM);
  EXPECT_EQ(early.out, "");
}

TEST_F(StopTest, AFileStopsTheRunOnce) {
  ChildProcess child = start_stopping(2, 40, "h5.written:2");
  const pid_t first = wait_until_stopped(out());
  write("run/STOP", "");
  ::kill(first, SIGCONT);
  expect_stopped(child, out() + "/STOP asked for it");
  EXPECT_THAT(files_in("run"), Not(Contains("STOP")));
  expect_same_end(40);
}

TEST_F(StopTest, TheClockStopsTheRun) {
  ChildProcess child =
      start(command_for(1, options(out(), kEndless) + Arguments{"--max-time", "2s"}));
  const int step = expect_stopped(child, "the time is up");
  EXPECT_GT(step, 0);
  expect_same_end(step + 10);
}

// Twenty seconds before it, so that the job's script has some left.
TEST_F(StopTest, TheEndOfASlurmJobStopsTheRun) {
  const auto job_that_ends_in = [&](int seconds) {
    return start(command_for(2, options(out(), kEndless)),
                 {{"SLURM_JOB_END_TIME", std::to_string(std::time(nullptr) + seconds)}});
  };
  ChildProcess child = job_that_ends_in(23);
  const int step = expect_stopped(child, "the time is up");
  EXPECT_GT(step, 0);
  // One that is at its end takes a step all the same, else it would never get on.
  ChildProcess late = job_that_ends_in(-5);
  EXPECT_EQ(expect_stopped(late, "the time is up"), step + 1);
  expect_same_end(step + 10);
}

TEST_F(StopTest, WhereSlurmSetsNoEndOfTheJobSqueueIsAsked) {
  write("bin/squeue",
        "#!/bin/sh\ntest \"$*\" = '-h -j 4711 -o %L' -o \"$*\" = '-h -j 4700_3 -o %L' && echo "
        "0:22\n");
  fs::permissions(path("bin/squeue"), fs::perms::owner_all);
  const char* const programs = std::getenv("PATH");
  Environment job = {{"SLURM_JOB_ID", "4711"},
                     {"PATH", path("bin").string() + ":" + (programs ? programs : "")}};
  ChildProcess child = start(command_for(1, options(out(), kEndless)), job);
  EXPECT_GT(expect_stopped(child, "the time is up"), 0);
  // The last task of an array has the array's number for its own.
  job.merge(Environment{{"SLURM_ARRAY_JOB_ID", "4700"}, {"SLURM_ARRAY_TASK_ID", "3"}});
  job["SLURM_JOB_ID"] = "4700";
  ChildProcess task = start(command_for(1, options(out(), kEndless)), job);
  EXPECT_GT(expect_stopped(task, "the time is up"), 0);
}

// What it saved has the options that it was given, so that it can go on as the log advises.
TEST_F(StopTest, AnExtendedRunThatStopsAtOnceKeepsItsOptions) {
  succeed(options(out(), 10));
  const Arguments longer = {"--resume", out(), "--steps", "14"};
  ChildProcess child = start(command_for(1, longer),
                             {{"CLLM_FAIL_POINT", "toml.renamed:1:" + std::to_string(SIGUSR1)}});
  EXPECT_EQ(expect_stopped(child, kSignal), 10);
  EXPECT_THAT(succeed({"--resume", out()}).out, HasSubstr("done: 4 steps"));
}

TEST_F(StopTest, AStopFileIsGoneWhateverStoppedTheRun) {
  succeed(options(out(), 5));
  write("run/STOP", "");
  ChildProcess child = start(command_for(1, {"--resume", out(), "--steps", "9"}),
                             {{"CLLM_FAIL_POINT", "toml.renamed:1:" + std::to_string(SIGUSR1)}});
  expect_stopped(child, kSignal);
  EXPECT_THAT(files_in("run"), Not(Contains("STOP")));
}

TEST_F(StopTest, ARunThatIsExtendedIsNotCompleteMeanwhile) {
  succeed(options(out(), 14));
  EXPECT_EQ(read("run/complete"), "14 steps\n");
  ChildProcess child = start(command_for(1, options(out(), 40)),
                             {{"CLLM_FAIL_POINT", "toml.written:1:" + std::to_string(SIGSTOP)}});
  wait_until_stopped(out());
  EXPECT_THAT(files_in("run"), Not(Contains("complete")));
  child.signal(SIGCONT);
  EXPECT_EQ(wait(child).exit_code, 0);
  expect_same_end(40);
}

}  // namespace
}  // namespace cllm::cli
