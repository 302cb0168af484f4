#include "cllm/report/screen.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ctime>

#include "cllm/report/text.h"
#include "example_run.h"
#include "support/scratch_directory.h"

namespace cllm::report {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::Not;
using testing::SizeIs;
using testing::StartsWith;

class ScreenTest : public testing::Test {
 protected:
  std::vector<RunRecord> runs(const std::string& name) const {
    std::vector<RunRecord> found = find_runs({(scratch_.path() / name).string()});
    for (RunRecord& run : found) run.refresh(now_);
    return found;
  }

  support::ScratchDirectory scratch_;
  const std::int64_t now_ = std::time(nullptr);
};

TEST_F(ScreenTest, ShowsARun) {
  write_example(scratch_, "run", 60, 100);
  for (const bool utf8 : {false, true}) {
    const auto lines = run_screen(runs("run").front(), "RUNNING, 1:00 left", now_, {.utf8 = utf8});
    EXPECT_THAT(lines, Contains(HasSubstr("step 60 of 100")));
    EXPECT_THAT(lines, Contains(HasSubstr("60.0 %  42s left")));
    EXPECT_THAT(lines, Contains(StartsWith("validation  2.1667 at step 60, the best")));
    EXPECT_THAT(lines, Contains(StartsWith("speed       1,000 tokens/s")));
    EXPECT_THAT(lines, Contains(StartsWith("checkpoint  step-00000060.h5, 13 bytes, ")));
    EXPECT_THAT(lines, Contains(StartsWith("runs on     2 ranks, 4 threads on node1")));
    EXPECT_THAT(lines, Contains(StartsWith("slurm       job 77: RUNNING, 1:00 left")));
    for (const std::string& line : lines) {
      EXPECT_LE(columns_of(line), 80u) << line;
      EXPECT_EQ(terminal_text(line, utf8), line);
    }
  }
}

TEST_F(ScreenTest, FitsAnyTerminal) {
  write_example(scratch_, "run", 60, 100);
  for (const std::size_t columns : std::vector<std::size_t>{40, 80, 120}) {
    for (const std::string& line :
         run_screen(runs("run").front(), "", now_, {.columns = columns, .rows = 0, .utf8 = true})) {
      EXPECT_LE(columns_of(line), columns) << line;
    }
  }
  EXPECT_THAT(run_screen(runs("run").front(), "", now_, {.columns = 80, .rows = 7, .utf8 = true}),
              SizeIs(7));
}

TEST_F(ScreenTest, TextsOfFilesMoveNoCursor) {
  write_example(scratch_, "run", 60, 100);
  scratch_.write("run/metrics.jsonl",
                 example_metrics(5, 100) + "{\"step\":5,\"replicas\":\"a\\u001b[2Jb\\u009bc\"}\n");
  const auto lines = run_screen(runs("run").front(), "", now_, {.utf8 = true});
  EXPECT_THAT(lines, Contains(StartsWith("warning     step 5: ranks differed: a?[2Jb?c")));
}

TEST_F(ScreenTest, ShowsSeveralRunsAsATable) {
  write_example(scratch_, "sweep/1", 100, 100);
  write_example(scratch_, "sweep/2", 60, 100);
  write_example(scratch_, "sweep/a-name-that-is-longer-than-its-column", 10, 100);
  const auto found = runs("sweep");
  const auto lines = runs_screen(found, {"", "", ""}, now_, {});
  ASSERT_THAT(lines, SizeIs(4));
  EXPECT_THAT(lines[1], StartsWith("1             complete     100  100%   2.0"));
  EXPECT_THAT(lines[2], StartsWith("2             running       60   60%"));
  EXPECT_THAT(lines[2], HasSubstr(" 42s "));
  EXPECT_THAT(lines[3], StartsWith("a-name-that-~ running"));
  for (const std::string& line : lines) EXPECT_LE(columns_of(line), 80u) << line;
}

TEST_F(ScreenTest, ATableThatIsTooLongLeavesOutWhatIsComplete) {
  for (int i = 1; i <= 6; ++i)
    write_example(scratch_, fmt::format("sweep/{}", i), i < 4 ? 9 : 5, 9);
  const auto found = runs("sweep");
  const auto lines = runs_screen(found, std::vector<JobState>(6), now_, {.columns = 80, .rows = 5});
  ASSERT_THAT(lines, SizeIs(5));
  for (int i = 1; i <= 3; ++i)
    EXPECT_THAT(lines[static_cast<std::size_t>(i)], HasSubstr("running"));
  EXPECT_THAT(lines.back(), HasSubstr("and 3 more; 3 of 6 are complete"));
}

TEST_F(ScreenTest, ARunThatStoppedAndWhoseJobWaitsIsQueued) {
  write_example(scratch_, "run", 60, 100);
  std::filesystem::remove(scratch_.path() / "run/.lock");
  const auto found = runs("run");
  EXPECT_THAT(run_screen(found.front(), "PENDING, Resources", now_, {}).front(),
              HasSubstr("queued"));
  EXPECT_THAT(run_screen(found.front(), "", now_, {}).front(), HasSubstr("stopped 0s ago"));
  EXPECT_THAT(run_screen(found.front(), "", now_, {}), Not(Contains(HasSubstr(" left"))));
}

}  // namespace
}  // namespace cllm::report
