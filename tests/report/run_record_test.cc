#include "cllm/report/run_record.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ctime>
#include <fstream>

#include "cllm/base/error.h"
#include "example_run.h"
#include "support/scratch_directory.h"

namespace cllm::report {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;
using testing::ThrowsMessage;

class RunRecordTest : public testing::Test {
 protected:
  RunRecord record(const std::string& name, std::int64_t later = 0) const {
    RunRecord run(scratch_.path() / name, name);
    run.refresh(std::time(nullptr) + later);
    return run;
  }
  std::string path(const std::string& name) const { return (scratch_.path() / name).string(); }

  support::ScratchDirectory scratch_;
};

std::vector<std::string> names(const std::vector<RunRecord>& runs) {
  std::vector<std::string> all;
  for (const RunRecord& run : runs) all.push_back(run.name());
  return all;
}

TEST_F(RunRecordTest, SaysWhatTheRunDoes) {
  write_example(scratch_, "complete", 20, 20);
  write_example(scratch_, "running", 20, 50);
  write_example(scratch_, "stopped", 20, 50);
  std::filesystem::remove(path("stopped/.lock"));
  scratch_.write("starting/config.toml", "steps = 5\n");
  scratch_.write("starting/.lock", "");
  EXPECT_EQ(record("complete").status(), Status::kComplete);
  EXPECT_EQ(record("running").status(), Status::kRunning);
  EXPECT_EQ(record("running", 100'000).status(), Status::kSilent);
  EXPECT_EQ(record("stopped").status(), Status::kStopped);
  EXPECT_EQ(record("starting").status(), Status::kStarting);
  EXPECT_EQ(record("starting", 600).status(), Status::kStarting) << "it may prepare its data";
}

TEST_F(RunRecordTest, KnowsItsFiles) {
  write_example(scratch_, "run", 20, 50);
  scratch_.write("run/step-00000010.h5", "12345");
  const RunRecord run = record("run");
  EXPECT_EQ(run.steps(), 50u);
  EXPECT_DOUBLE_EQ(*run.seconds_left(), 30 * (1.0 + 2 * 0.5 / 20));
  EXPECT_EQ(run.option("preset"), "mini");
  EXPECT_EQ(run.option("min-lr"), "1e-05");
  EXPECT_EQ(run.option("unknown"), "");
  ASSERT_THAT(run.checkpoints(), SizeIs(2));
  EXPECT_EQ(run.checkpoints()[0].name, "step-00000010.h5");
  EXPECT_EQ(run.checkpoints()[0].bytes, 5u);
  EXPECT_EQ(run.start()->job, "77");
  EXPECT_EQ(run.stop(), nullptr);
  EXPECT_EQ(run.resumes(), 0u);
}

TEST_F(RunRecordTest, FollowsARunThatGoesBack) {
  write_example(scratch_, "run", 30, 50);
  RunRecord run = record("run");
  EXPECT_EQ(run.metrics().at.step, 30u);
  scratch_.write("run/metrics.jsonl",
                 example_metrics(10, 50) + "{\"step\":10,\"stop\":{\"why\":\"the time is up\"}}\n" +
                     "{\"step\":10,\"start\":{\"steps\":60}}\n{\"step\":11,\"lo");
  run.refresh(std::time(nullptr));
  EXPECT_EQ(run.metrics().at.step, 10u);
  EXPECT_EQ(run.metrics().loss.points().size(), 10u);
  EXPECT_EQ(run.steps(), 60u);
  EXPECT_EQ(run.resumes(), 1u);
  std::ofstream(path("run/metrics.jsonl"), std::ios::app) << "ss\":3}\n";
  run.refresh(std::time(nullptr));
  EXPECT_EQ(run.metrics().loss.last()->value, 3);
}

TEST_F(RunRecordTest, ReadsConfigurationsOfAnyContent) {
  const auto options = options_in(
      "a = 1\n# b = \"x = y\"\n# a remark\nnonsense\n= 2\n[section]\nc = ['p', 'q']\nd e = 3\n");
  ASSERT_THAT(options, SizeIs(3));
  EXPECT_EQ(options[0].name, "a");
  EXPECT_FALSE(options[0].is_derived);
  EXPECT_EQ(options[1].value, "x = y");
  EXPECT_TRUE(options[1].is_derived);
  EXPECT_EQ(options[2].value, "['p', 'q']");
  EXPECT_LT(options_in("a = " + std::string(1 << 20, 'x')).front().value.size(), 3000u);
  std::string many;
  for (int i = 0; i < 5000; ++i) many += fmt::format("k{} = 1\n", i);
  EXPECT_LT(options_in(many).size(), 1000u);
}

TEST_F(RunRecordTest, FindsTheRunsOfASweepByNumber) {
  for (const char* name : {"sweep/1", "sweep/10", "sweep/9", "other"}) {
    write_example(scratch_, name, 1, 2);
  }
  scratch_.write("sweep/token-cache/file", "");
  EXPECT_THAT(names(find_runs({path("sweep")})), ElementsAre("1", "9", "10"));
  EXPECT_THAT(names(find_runs({path("other"), path("sweep"), path("sweep/9")})),
              ElementsAre("other", "1", "9", "10"))
      << "each once";
  write_example(scratch_, "again/1", 1, 2);
  EXPECT_THAT(names(find_runs({path("sweep/1"), path("again/1")})),
              ElementsAre(path("sweep/1"), path("again/1")))
      << "names that tell them apart";
}

TEST_F(RunRecordTest, NamesADirectoryWithoutRuns) {
  scratch_.write("empty/file", "");
  EXPECT_THAT([&] { find_runs({path("empty")}); }, ThrowsMessage<Error>(HasSubstr(path("empty"))));
  EXPECT_THAT([&] { find_runs({path("absent")}); },
              ThrowsMessage<Error>(HasSubstr(path("absent"))));
  write_example(scratch_, "many/run", 1, 2);
  for (int i = 0; i < 1000; ++i) {
    std::filesystem::create_directory_symlink("run", path(fmt::format("many/{}", i)));
  }
  EXPECT_THAT([&] { find_runs({path("many")}); }, ThrowsMessage<Error>(HasSubstr("1000 runs")));
}

}  // namespace
}  // namespace cllm::report
