#include <fmt/format.h>

#include <set>

#include "program_fixture.h"

namespace cllm::cli {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

/// A factor so low that ordinary gradients count as spikes, some in each half of the steps, of a
/// model whose gradients scatter.
const Arguments kNervous = {"--family",       "gpt2", "--optimizer",        "adamw",
                            "--spike-factor", "1.3",  "--schedule",         "constant",
                            "--warmup",       "0",    "--checkpoint-every", "4"};
constexpr int kSteps = 100;
constexpr int kHalf = 50;

class SpikeProgramTest : public ProgramTest {
 protected:
  /// What was done about gradients: the lines that say so, without times.
  std::vector<std::string> journal(const std::string& run) const {
    std::vector<std::string> lines;
    for (const char* key : {"spike", "rollback"}) {
      for (const auto& line : metrics(run, key)) {
        lines.push_back(line.at("step").dump() + " " + line.at(key).dump());
      }
    }
    return lines;
  }

  /// Trains once without and once with a stop in the middle; both must end alike.
  void expect_replayed(const std::string& action) const {
    const Arguments options = kNervous + Arguments{"--on-spike", action};
    const std::string straight = action + "-straight", stopped = action + "-stopped";
    succeed(tiny(straight, kSteps, options));
    succeed(tiny(stopped, kHalf, options));
    EXPECT_THAT(journal(stopped), Not(IsEmpty())) << "nothing to replay";
    const auto first_half = journal(stopped);
    // From the last checkpoint, and from an earlier one, whose steps have spikes again.
    for (const char* from : {"", "/step-00000044.h5"}) {
      succeed({"--resume", stopped + from, "--steps", std::to_string(kSteps)});
      EXPECT_EQ(digests(stopped), digests(straight)) << action << from;
      EXPECT_EQ(values(stopped, "loss"), values(straight, "loss")) << action << from;
      EXPECT_EQ(journal(stopped), journal(straight)) << action << from;
      EXPECT_GT(journal(stopped).size(), first_half.size());
    }
  }
};

TEST_F(SpikeProgramTest, SkippingIsReplayed) { expect_replayed("skip"); }
TEST_F(SpikeProgramTest, ClippingIsReplayed) { expect_replayed("clip"); }
TEST_F(SpikeProgramTest, RollingBackIsReplayed) {
  expect_replayed("rollback");
  // Each step stands once in the log, however often it was taken.
  std::set<int> steps;
  for (const auto& line : metrics("rollback-straight", "loss")) {
    EXPECT_TRUE(steps.insert(line.at("step").get<int>()).second) << line;
  }
  EXPECT_EQ(steps.size(), static_cast<std::size_t>(kSteps));
}

// A checkpoint that was saved because the run stopped is of a way that going back abandons.
TEST_F(SpikeProgramTest, RollingBackAbandonsWhatAStopSaved) {
  const Arguments options = kNervous + Arguments{"--on-spike", "rollback", "--keep", "1"};
  succeed(tiny("straight", kSteps, options));
  const int from = metrics("straight", "rollback").front().at("rollback").at("from");
  const int to = metrics("straight", "rollback").front().at("rollback").at("to");
  ASSERT_GT(from - 1, to) << "no step between the checkpoint and the spike";
  succeed(tiny("run", from - 1, options));
  const std::string abandoned = fmt::format("step-{:08}.h5", from - 1);
  EXPECT_THAT(files_in("run"), testing::Contains(abandoned));
  const ChildResult result = succeed({"--resume", "run", "--steps", std::to_string(kSteps)});
  EXPECT_THAT(result.out, HasSubstr("note    " + abandoned + " is of a step that is now taken"));
  EXPECT_THAT(files_in("run"), testing::Contains(abandoned + ".aside"));
  EXPECT_EQ(digests("run"), digests("straight"));
  EXPECT_EQ(journal("run"), journal("straight"));
  EXPECT_EQ(values("run", "loss"), values("straight", "loss"));
  // From another directory the checkpoint to go back to is still found.
  succeed(tiny("short", from - 1, options));
  succeed({"--resume", "short", "--steps", std::to_string(kSteps), "--out", "elsewhere"});
  EXPECT_EQ(digests("elsewhere"), digests("straight"));
}

TEST_F(SpikeProgramTest, ActionsDiffer) {
  succeed(tiny("skip", kSteps, kNervous + Arguments{"--on-spike", "skip"}));
  succeed(tiny("clip", kSteps, kNervous + Arguments{"--on-spike", "clip"}));
  succeed(tiny("usual", kSteps, kNervous + Arguments{"--spike-factor", "1000"}));
  EXPECT_THAT(journal("usual"), IsEmpty());
  EXPECT_NE(digests("skip"), digests("clip"));
  EXPECT_NE(digests("skip"), digests("usual"));
}

TEST_F(SpikeProgramTest, StoppingSavesAndSaysWhy) {
  const ChildResult result =
      program(tiny("run", kSteps, kNervous + Arguments{"--on-spike", "stop"}));
  expect_one_sentence(result, "at step [0-9]+ the loss is .* and the norm of its gradient");
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(succeed({"inspect", "run"}).out, HasSubstr("whole"));
  EXPECT_THAT(files_in("run"), Not(testing::Contains("complete")));
  // From what was saved one can go on otherwise.
  succeed({"--resume", "run", "--on-spike", "skip"});
}

TEST_F(SpikeProgramTest, LossesThatStayNotANumberEndTheRun) {
  const ChildResult result = program(tiny("run", kSteps, {"--lr", "1000", "--clip", "0"}));
  EXPECT_EQ(result.exit_code, 1);
  expect_one_sentence(result, "not finite|the loss is nan");
  EXPECT_THAT(result.out, HasSubstr("skipped"));
}

TEST_F(SpikeProgramTest, RanksGoBackTogether) {
  const Arguments options = kNervous + Arguments{"--on-spike", "rollback"};
  succeed(tiny("alone", kSteps, options));
  succeed_on(2, tiny("two", kSteps, options));
  EXPECT_EQ(journal("two"), journal("alone"));
  EXPECT_EQ(digests("two"), digests("alone"));
}

TEST_F(SpikeProgramTest, ReplicasThatAgreeGoUnnoticed) {
  succeed_on(2, tiny("checked", 20, {"--check-replicas", "5"}));
  succeed(tiny("unchecked", 20));
  EXPECT_EQ(digests("checked"), digests("unchecked"));
}

}  // namespace
}  // namespace cllm::cli
