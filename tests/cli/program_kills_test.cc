#include <signal.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <numeric>
#include <optional>
#include <random>
#include <thread>

#include "cllm/io/run_directory.h"
#include "program_fixture.h"
#include "support/environment.h"

namespace cllm::cli {
namespace {

namespace fs = std::filesystem;
using testing::Each;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::StartsWith;

/// Kills at random moments, in all; CLLM_KILLS says how many, and every so many add a round through
/// all places where a writer can be killed.
constexpr std::uint64_t kKills = 12;

std::uint64_t kills_in_all() { return support::count_from_environment("CLLM_KILLS", kKills); }

/// Ranks with mpirun need seconds to go, and are killed in a third of the cases.
constexpr std::uint64_t kOneOnRanks = 3;

constexpr int kKilled = 128 + SIGKILL;

/// Places of writing a checkpoint, which a run passes again and again.
const std::vector<std::string> kPlaces = {
    "h5.written",    "h5.synced",      "h5.checked",         "h5.renamed",     "latest.written",
    "latest.synced", "latest.renamed", "checkpoint.retired", "checkpoint.done"};
/// Places of starting a run again, the first of them when metrics have to be taken back.
const std::vector<std::string> kStartPlaces = {"jsonl.written", "jsonl.synced", "jsonl.renamed",
                                               "toml.written",  "toml.synced",  "toml.renamed"};
/// Places of the last checkpoint, from which on there is no step to take.
const std::vector<std::string> kEndPlaces = {"h5.renamed",      "latest.written",
                                             "latest.synced",   "complete.written",
                                             "complete.synced", "complete.renamed"};

/// One start of a run, and what kills it.
struct Life {
  int ranks = 1;
  bool background = true;
  std::string fail_point = {};         ///< as CLLM_FAIL_POINT has it
  std::optional<double> seconds = {};  ///< after the ranks are there
  std::string victim = {};             ///< number of a rank, or "mpirun"
};

/// What the run is that nobody disturbs.
struct Undisturbed {
  std::vector<std::string> digests;
  std::vector<double> losses, validation_losses;
  std::vector<int> validated;
  double seconds = 0;
};

class KillsTest : public ProgramTest {
 protected:
  Arguments options(const std::string& out, const Life& life) const {
    return tiny(out, steps_, {"--checkpoint-every", std::to_string(checkpoint_every_)}) +
           Arguments{"--eval-every",
                     "7",
                     "--keep",
                     "2",
                     "--resume",
                     "auto",
                     "--checkpoint-write",
                     life.background ? "background" : "blocking"};
  }

  /// Sets how long runs are, and runs one to its end.
  Undisturbed undisturbed(int steps, int checkpoint_every) {
    steps_ = steps;
    checkpoint_every_ = checkpoint_every;
    const auto before = std::chrono::steady_clock::now();
    succeed(options("undisturbed", {}));
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - before;
    return {.digests = digests("undisturbed"),
            .losses = values("undisturbed", "loss"),
            .validation_losses = values("undisturbed", "val_loss"),
            .validated = steps_with("undisturbed", "val_loss"),
            .seconds = taken.count()};
  }

  /// A run in `name` that is to be killed, and started again.
  void begin(const std::string& name) {
    name_ = name;
    newest_ = 0;
  }

  const std::string& name() const { return name_; }

  /// Starts the run again. Returns whether it was killed.
  bool live(const Life& life) {
    const std::string out = path(name_).string();
    Environment environment;
    if (!life.fail_point.empty()) environment["CLLM_FAIL_POINT"] = life.fail_point;
    support::ChildProcess child = start(command_for(life.ranks, options(out, life)), environment);
    if (life.seconds) kill_after(*life.seconds, life, child, out);
    const ChildResult result = wait(child);
    EXPECT_TRUE(wait_until([&] { return ranks_with(out).empty(); }, kPatience))
        << "a rank outlived the job";
    check_start(result.out);
    check_directory();
    const bool killed = result.exit_code != 0;
    if (killed && life.ranks == 1) {
      EXPECT_EQ(result.exit_code, kKilled) << result.out << result.err;
    }
    EXPECT_EQ(count_lines(result.err, "cllm-dist: "), 0) << result.err;
    return killed;
  }

  /// Starts the run for the last time, and compares it with the one that nobody disturbed.
  void finish(const Undisturbed& expected, int ranks = 1) {
    EXPECT_FALSE(live({.ranks = ranks}));
    EXPECT_EQ(digests(name_), expected.digests);
    EXPECT_EQ(values(name_, "loss"), expected.losses);
    std::vector<int> all(expected.losses.size());
    std::iota(all.begin(), all.end(), 1);
    EXPECT_EQ(steps_with(name_, "loss"), all);
    EXPECT_EQ(values(name_, "val_loss"), expected.validation_losses);
    EXPECT_EQ(steps_with(name_, "val_loss"), expected.validated);
    const std::vector<std::string> files = files_in(name_);
    EXPECT_THAT(files, testing::Contains("complete"));
    EXPECT_THAT(files, Each(Not(StartsWith(".")))) << "temporary files or a lock are left";
    EXPECT_THAT(files, Each(Not(HasSubstr("aside"))));
    const std::string name = io::checkpoint_name(static_cast<std::uint64_t>(steps_)).string();
    EXPECT_EQ(read(name_ + "/latest"), name + "\n");
  }

 private:
  static void kill_after(double seconds, const Life& life, support::ChildProcess& child,
                         const std::string& out) {
    const auto ranks_are_there = [&] {
      return !child.is_running() || std::ssize(ranks_with(out)) == life.ranks;
    };
    EXPECT_TRUE(wait_until(ranks_are_there, kPatience));
    std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
    if (life.ranks == 1 || life.victim == "mpirun") return child.signal(SIGKILL);
    for (const auto& [rank, pid] : ranks_with(out)) {
      if (rank == life.victim) ::kill(pid, SIGKILL);
    }
    // Open MPI 4.1's mpirun may wait forever for a rank that died while MPI started, although none
    // is left.
    constexpr double kLaunchersSeconds = 15;
    wait_until([&] { return !child.is_running() || ranks_with(out).empty(); }, kPatience);
    if (!wait_until([&] { return !child.is_running(); }, kLaunchersSeconds)) child.signal(SIGKILL);
  }

  /// Whether a start went on from the newest checkpoint, as far as it got.
  void check_start(const std::string& out) const {
    const auto lines = lines_of(out);
    const auto resumed = std::ranges::find_if(
        lines, [](const std::string& line) { return line.starts_with("resumed from"); });
    if (newest_ == 0) {
      EXPECT_EQ(resumed, lines.end()) << *resumed;
    } else if (resumed != lines.end()) {
      EXPECT_THAT(*resumed, HasSubstr(io::checkpoint_name(newest_).string() + " at step " +
                                      std::to_string(newest_)));
    } else {
      EXPECT_EQ(count_lines(out, "step "), 0) << out;
    }
    EXPECT_THAT(out, Not(HasSubstr("passed over")));
  }

  /// Every checkpoint that has its name is whole, and none is lost that was reported or came
  /// before.
  void check_directory() {
    std::uint64_t newest = 0;
    if (fs::exists(path(name_))) {
      for (const fs::path& checkpoint : io::list_checkpoints(path(name_))) {
        EXPECT_EQ(io::problem_of(checkpoint), std::nullopt);
        newest = *io::step_in_name(checkpoint);
      }
    }
    EXPECT_GE(newest, newest_);
    EXPECT_GE(newest, last_reported());
    newest_ = newest;
  }

  /// The step of the last checkpoint that metrics.jsonl has; its last line may be cut off.
  std::uint64_t last_reported() const {
    std::uint64_t last = 0;
    if (!fs::exists(path(name_) / "metrics.jsonl")) return last;
    for (const std::string& line : lines_of(read(name_ + "/metrics.jsonl"))) {
      const auto object = nlohmann::json::parse(line, nullptr, false);
      if (object.contains("checkpoint")) last = object.at("step");
    }
    return last;
  }

  int steps_ = 0;
  int checkpoint_every_ = 0;
  std::string name_;
  std::uint64_t newest_ = 0;
};

// One run that dies at each place in turn. Ranks and the way of writing change as it goes on.
TEST_F(KillsTest, AtEveryPlaceOfWriting) {
  constexpr int kVisits = 2;
  constexpr int kEvery = 3;
  // What is written before the first checkpoint is, of the second visit, lost again.
  const int steps = kVisits * kEvery * static_cast<int>(kPlaces.size() + 2);
  const Undisturbed expected = undisturbed(steps, kEvery);
  std::vector<std::string> places;
  for (const std::string& place : kPlaces) {
    places.push_back(place + ":" + std::to_string(kVisits));
    if (place != kPlaces.front()) continue;
    // Now there are lines of steps that the next start takes back.
    places.insert(places.end(), kStartPlaces.begin(), kStartPlaces.end());
  }
  const std::uint64_t rounds = std::max<std::uint64_t>(1, kills_in_all() / kKills);
  for (std::uint64_t round = 0; round < rounds; ++round) {
    begin("run-" + std::to_string(round));
    for (std::size_t i = 0; i < places.size(); ++i) {
      const Life life{.ranks = (i + round) % kOneOnRanks == 0 ? 2 : 1,
                      .background = (i + round) % 2 == 0,
                      .fail_point = places[i]};
      EXPECT_TRUE(live(life)) << "the run does not come to " << life.fail_point;
    }
    finish(expected);
  }
}

// What the next start does then has no step in it.
TEST_F(KillsTest, AtEveryPlaceOfTheLastWriting) {
  const Undisturbed expected = undisturbed(5, 0);
  std::uint64_t i = 0;
  for (const std::string& place : kEndPlaces) {
    SCOPED_TRACE(place);
    begin(place);
    EXPECT_TRUE(live({.background = ++i % 2 == 0, .fail_point = place}));
    finish(expected);
  }
}

class RandomKillsTest : public KillsTest {
 protected:
  void kill_at_random(int ranks, std::uint64_t kills) {
    constexpr double kByTheClock = 0.5;
    constexpr double kAgain = 0.75;
    const Undisturbed expected = undisturbed(40, 3);
    std::mt19937_64 random(static_cast<std::uint64_t>(ranks));
    std::uniform_real_distribution<double> real;
    const auto below = [&](std::size_t end) { return random() % end; };
    std::uint64_t done = 0;
    for (int run = 0; done < kills; ++run) {
      begin("run-" + std::to_string(run));
      do {
        Life life{.ranks = ranks, .background = below(2) == 0};
        if (real(random) < kByTheClock) {
          life.seconds = real(random) * expected.seconds;
          life.victim = std::vector<std::string>{"0", "1", "mpirun"}[below(3)];
        } else {
          const auto places = kPlaces + kStartPlaces + kEndPlaces;
          life.fail_point = places[below(places.size())] + ":" + std::to_string(1 + below(4));
        }
        SCOPED_TRACE(testing::Message()
                     << "run " << run << ", kill " << done << ": ranks " << ranks << ", background "
                     << life.background << ", " << life.fail_point << life.seconds.value_or(0)
                     << " s, " << life.victim);
        if (live(life)) ++done;
      } while (done < kills && real(random) < kAgain);
      finish(expected, ranks);
      if (HasFailure()) return;
    }
    RecordProperty("kills", static_cast<int>(done));
  }
};

TEST_F(RandomKillsTest, OfOneRank) {
  kill_at_random(1, kills_in_all() - kills_in_all() / kOneOnRanks);
}

TEST_F(RandomKillsTest, OfTwoRanksOrTheirLauncher) {
  kill_at_random(2, kills_in_all() / kOneOnRanks);
}

// --- What the power leaves ----------------------------------------------------------------------

// A file system may keep a rename and lose what is in the file.
TEST_F(KillsTest, ACheckpointThatLostItsContentIsPassedOverByName) {
  const Undisturbed expected = undisturbed(12, 3);
  const auto lose = [&](const std::string& what, const std::string& name) {
    const fs::path file = path("run/" + name);
    const auto size = fs::file_size(file);
    if (what == "all") fs::resize_file(file, 0);
    if (what == "half") fs::resize_file(file, size / 2);
    if (what == "pages") {
      std::fstream stream(file, std::ios::binary | std::ios::in | std::ios::out);
      stream.seekp(static_cast<std::streamoff>(size / 2));
      stream << std::string(1 << 14, '\0');
    }
  };
  int ranks = 1;
  for (const std::string what : {"all", "half", "pages"}) {
    SCOPED_TRACE(what);
    fs::remove_all(path("run"));
    EXPECT_NE(run(command_for(1, options("run", {.background = false})),
                  {{"CLLM_FAIL_POINT", "checkpoint.done:3"}})
                  .exit_code,
              0);
    lose(what, "step-00000009.h5");
    const ChildResult result = succeed_on(ranks++, options("run", {}));
    EXPECT_EQ(count_lines(result.out, "note    passed over: "), 1);
    EXPECT_THAT(result.out, testing::ContainsRegex("passed over: .*step-00000009.h5"));
    EXPECT_THAT(result.out, HasSubstr("step-00000006.h5 at step 6"));
    EXPECT_EQ(digests("run"), expected.digests);
    EXPECT_EQ(values("run", "loss"), expected.losses);
    EXPECT_THAT(files_in("run"),
                testing::IsSupersetOf({"complete", "step-00000009.h5", "step-00000009.h5.aside"}));
  }
  // Where none is whole, nothing is begun anew over it.
  for (const fs::path& file : io::list_checkpoints(path("run"))) fs::resize_file(file, 100);
  expect_one_sentence(program(options("run", {})), "none of the . checkpoints in .*run is whole");
}

// It is for people; what is resumed are the checkpoints.
TEST_F(KillsTest, AFileLatestThatIsWrongMisleadsNobody) {
  const Undisturbed expected = undisturbed(12, 3);
  int checkpoints = 1;  // after the last of them, there is no step to take
  for (const std::string& latest :
       std::vector<std::string>{"", "step-00000099.h5\n", std::string(17, '\0')}) {
    SCOPED_TRACE(testing::PrintToString(latest));
    begin("run-" + std::to_string(++checkpoints));
    EXPECT_TRUE(live({.fail_point = "checkpoint.done:" + std::to_string(checkpoints)}));
    write(name() + "/latest", latest);
    write(name() + "/metrics.jsonl", read(name() + "/metrics.jsonl") + std::string(100, '\0'));
    finish(expected);
  }
}

}  // namespace
}  // namespace cllm::cli
