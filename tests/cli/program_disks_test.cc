#include <signal.h>
#include <sys/resource.h>

#include <fstream>
#include <functional>
#include <memory>
#include <numeric>

#include "cllm/io/run_directory.h"
#include "program_fixture.h"

namespace cllm::cli {
namespace {

namespace fs = std::filesystem;
using support::ChildProcess;
using testing::ContainsRegex;
using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;

/// Room for four checkpoints of the tiny model and a log.
constexpr int kDiskMegabytes = 8;

/// A small disk of its own, mounted at "disk" for those processes alone that `on_disk` starts.
class DisksTest : public ProgramTest {
 protected:
  void SetUp() override {
    if (!may_mount()) GTEST_SKIP() << "needs the right to mount: run as root with unshare";
    const std::string size = std::to_string(kDiskMegabytes) + "m";
    holder_ = std::make_unique<ChildProcess>(
        privately("mount -t tmpfs -o size=" + size + " none disk && echo mounted && exec sleep 900",
                  {}),
        directory());
    ASSERT_TRUE(wait_until([&] { return holder_->out() == "mounted\n"; }, kPatience));
  }

  Arguments on_disk(const Arguments& command) const {
    return Arguments{"nsenter", "--mount", "--wd", "--target", std::to_string(holder_->pid())} +
           command;
  }

  /// What is on the disk, as this process can reach it.
  fs::path seen(const std::string& name) const {
    return "/proc/" + std::to_string(holder_->pid()) + "/root" + path("disk/" + name).string();
  }

  // --- Runs on it

  std::string out() const { return path("disk/run").string(); }

  static constexpr int kEvery = 10;

  Arguments options(int steps, const Arguments& more = {}) const {
    return tiny(out(), steps, {"--checkpoint-every", std::to_string(kEvery), "--keep", "2"}) + more;
  }

  /// A run that stopped itself (SIGSTOP) after its first checkpoint, so that something can be done
  /// to its disk before the next.
  ChildProcess start_with_one_checkpoint(int ranks, const Arguments& run_options) {
    return start(on_disk(command_for(ranks, run_options)),
                 {{"CLLM_FAIL_POINT", "checkpoint.done:1:" + std::to_string(SIGSTOP)}});
  }

  /// Whether there are checkpoints of these steps and no others, whole, and none half written.
  void expect_checkpoints(const std::vector<int>& steps) const {
    std::vector<int> found;
    for (const fs::path& checkpoint : io::list_checkpoints(seen("run"))) {
      found.push_back(static_cast<int>(*io::step_in_name(checkpoint)));
      const ChildResult result =
          run(on_disk({CLLM_PROGRAM, "inspect", out() + "/" + checkpoint.filename().string()}));
      EXPECT_EQ(result.exit_code, 0) << result.err;
      EXPECT_THAT(result.out, HasSubstr("\nwhole "));
    }
    EXPECT_EQ(found, steps);
    for (const auto& entry : fs::directory_iterator(seen("run"))) {
      EXPECT_THAT(entry.path().filename().string(), Not(EndsWith(".cllm-tmp")));
    }
  }

  void expect_complete() const {
    EXPECT_TRUE(fs::exists(seen("run/complete")));
    EXPECT_FALSE(fs::exists(seen("run/.lock")));
  }

  /// Whether metrics.jsonl has each of the steps once, in order.
  void expect_steps(int steps) const {
    fs::create_directory(path("log"));
    fs::copy_file(seen("run/metrics.jsonl"), path("log/metrics.jsonl"));
    std::vector<int> all(static_cast<std::size_t>(steps));
    std::iota(all.begin(), all.end(), 1);
    EXPECT_EQ(steps_with("log", "loss"), all);
  }

 private:
  std::unique_ptr<ChildProcess> holder_;
};

/// What keeps a run from saving, and what the program says of it.
class Obstacle {
 public:
  virtual ~Obstacle() = default;
  virtual void set() = 0;
  virtual void clear() = 0;
  virtual std::string reason() const = 0;
};

/// A file of somebody else takes all the room.
class Filler : public Obstacle {
 public:
  explicit Filler(fs::path file) : file_(std::move(file)) {}
  void set() override {
    std::ofstream stream(file_, std::ios::binary);
    const std::string page(4096, 'x');
    while (stream << page << std::flush) {
    }
  }
  void clear() override { fs::remove(file_); }
  std::string reason() const override { return "No space left on device"; }

 private:
  fs::path file_;
};

/// The directory turns read-only, for whoever opens a file in it from now on.
class ReadOnly : public Obstacle {
 public:
  ReadOnly(std::function<ChildResult(const Arguments&)> run, std::string place)
      : run_(std::move(run)), place_(std::move(place)) {}
  void set() override {
    EXPECT_EQ(run_({"mount", "--bind", place_, place_}).exit_code, 0);
    EXPECT_EQ(run_({"mount", "-o", "remount,bind,ro", place_}).exit_code, 0);
  }
  void clear() override { EXPECT_EQ(run_({"umount", place_}).exit_code, 0); }
  std::string reason() const override { return "Read-only file system"; }

 private:
  std::function<ChildResult(const Arguments&)> run_;
  std::string place_;
};

/// No file of the process may be as large as a checkpoint, as with `ulimit -f`.
class SizeLimit : public Obstacle {
 public:
  explicit SizeLimit(pid_t process) : process_(process) {}
  void set() override { limit(1 << 20); }
  void clear() override {
    // Of a process that ended, it ended too.
    if (::kill(process_, 0) == 0) limit(RLIM_INFINITY);
  }
  std::string reason() const override { return "File too large"; }

 private:
  void limit(rlim_t bytes) const {
    const rlimit limits{.rlim_cur = bytes, .rlim_max = RLIM_INFINITY};
    EXPECT_EQ(::prlimit(process_, RLIMIT_FSIZE, &limits, nullptr), 0);
  }
  pid_t process_;
};

class ObstaclesTest : public DisksTest, public testing::WithParamInterface<std::string> {
 protected:
  /// One of them takes two ranks.
  int ranks_where(const std::string& obstacle) const { return GetParam() == obstacle ? 2 : 1; }

  std::unique_ptr<Obstacle> obstacle_for(pid_t process) const {
    if (GetParam() == "ReadOnly") {
      return std::make_unique<ReadOnly>([this](const Arguments& c) { return run(on_disk(c)); },
                                        out());
    }
    if (GetParam() == "SizeLimit") return std::make_unique<SizeLimit>(process);
    return std::make_unique<Filler>(seen("filler"));
  }
};

INSTANTIATE_TEST_SUITE_P(All, ObstaclesTest, testing::Values("Filler", "ReadOnly", "SizeLimit"),
                         [](const auto& parameter) { return parameter.param; });

TEST_F(ProgramTest, NoRoomForACheckpointIsSaidAtTheStart) {
  // Open MPI's PMIx may keep what it knows in files of 4 MB.
  const Arguments limited = {
      "env", "PMIX_MCA_gds=hash", "sh", "-c", "ulimit -f 1000 && exec \"$@\"", "sh"};
  const ChildResult warned = run(limited + command_for(1, tiny("run", 2)));
  EXPECT_THAT(warned.err,
              ContainsRegex("warning: --out run: a checkpoint takes 1[^\n]* MB, and no file may be "
                            "larger than [^\n]* \\(ulimit -f\\); make room"));
  EXPECT_EQ(steps_with("run", "loss").size(), 2u);
  expect_one_sentence(
      run(limited + command_for(1, tiny("stops", 2, {"--on-checkpoint-failure", "stop"}))),
      "--out stops: a checkpoint takes ");
  EXPECT_EQ(files_in("stops").size(), 0u);
  write("text.txt", sample_text(10'000));
  expect_one_sentence(run(limited + Arguments{CLLM_PROGRAM, "tokenize", "--data", "text.txt"} +
                          Arguments{"--out", "text.tokens"}),
                      "--out text.tokens: the file takes about ");
}

TEST_F(DisksTest, NoRoomForAllCheckpointsIsSaidAtTheStart) {
  EXPECT_EQ(run(on_disk(command_for(1, options(4)))).err, "");
  const ChildResult many = run(
      on_disk(command_for(1, tiny(path("disk/many").string(), 20, {"--checkpoint-every", "2"}))));
  EXPECT_THAT(many.err, HasSubstr("many: 11 checkpoints of 1.2"));
  EXPECT_THAT(many.err, HasSubstr("give a smaller --keep"));
}

TEST_P(ObstaclesTest, ARunSaysSoAndTrainsOnUntilItCanSaveAgain) {
  constexpr int kSteps = 400;
  ChildProcess child = start_with_one_checkpoint(ranks_where("ReadOnly"), options(kSteps));
  const pid_t process = wait_until_stopped(out());
  const auto obstacle = obstacle_for(process);
  obstacle->set();
  ::kill(process, SIGCONT);
  const std::string said = "step 20: not saved: ";
  EXPECT_TRUE(wait_until([&] { return count_lines(child.out(), said) > 0; }, kPatience));
  if (GetParam() == "Filler") {
    // The log has no room either, and catches up later.
    EXPECT_TRUE(wait_until(
        [&] { return child.out().find("its lines wait in memory") != std::string::npos; },
        kPatience));
  }
  obstacle->clear();
  const ChildResult result = wait(child);
  EXPECT_EQ(result.exit_code, 0) << result.out << result.err;
  EXPECT_EQ(count_lines(result.err, "cllm-dist: "), 0) << result.err;
  EXPECT_THAT(result.out,
              ContainsRegex(said + "[^\n]*step-00000020.h5[^\n]*" + obstacle->reason()));
  EXPECT_THAT(result.out, HasSubstr("step 400: saved step-00000400.h5"));
  expect_complete();
  expect_checkpoints({390, 400});
  expect_steps(kSteps);
}

TEST_P(ObstaclesTest, ALastStateThatCannotBeSavedIsAnError) {
  constexpr int kSteps = 20;
  succeed(tiny("undisturbed", kSteps, {"--warmup", "4"}));
  ChildProcess child =
      start_with_one_checkpoint(ranks_where("Filler"), options(kSteps, {"--warmup", "4"}));
  const pid_t process = wait_until_stopped(out());
  const auto obstacle = obstacle_for(process);
  obstacle->set();
  ::kill(process, SIGCONT);
  const ChildResult result = wait(child);
  EXPECT_EQ(result.exit_code, 1) << result.out;
  expect_one_sentence(result, "step-00000020\\.h5.*" + obstacle->reason());
  EXPECT_FALSE(fs::exists(seen("run/complete")));
  obstacle->clear();
  // What there was goes on, now that it can be saved.
  const ChildResult resumed = run(on_disk(command_for(1, options(kSteps, {"--resume", "auto"}))));
  EXPECT_EQ(resumed.exit_code, 0) << resumed.err;
  EXPECT_THAT(resumed.out, HasSubstr("step-00000010.h5 at step 10"));
  expect_complete();
  expect_checkpoints({10, 20});
  expect_steps(kSteps);
  fs::copy_file(seen("run/step-00000020.h5"), path("step-00000020.h5"));
  EXPECT_EQ(digests("step-00000020.h5"), digests("undisturbed"));
}

TEST_P(ObstaclesTest, ARunThatIsToldToStopsSoon) {
  ChildProcess child = start_with_one_checkpoint(
      ranks_where("SizeLimit"), options(1'000'000, {"--on-checkpoint-failure", "stop"}));
  const pid_t process = wait_until_stopped(out());
  const auto obstacle = obstacle_for(process);
  obstacle->set();
  ::kill(process, SIGCONT);
  const ChildResult result = wait(child);
  obstacle->clear();
  EXPECT_EQ(result.exit_code, 1);
  expect_one_sentence(result, "step-00000020\\.h5.*" + obstacle->reason());
  EXPECT_EQ(count_lines(result.out, "step 20: not saved: "), 1);
  EXPECT_EQ(count_lines(result.out, "step 40: "), 0);
  expect_checkpoints({10});
}

}  // namespace
}  // namespace cllm::cli
