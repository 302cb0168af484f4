#include "cllm/train/checkpoint_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "cllm/base/error.h"
#include "cllm/base/file.h"
#include "cllm/io/run_directory.h"
#include "cllm/train/adamw.h"
#include "cllm/train/replicas.h"
#include "cllm/train/saved_state.h"
#include "support/scratch_directory.h"
#include "support/thread_ranks.h"

namespace cllm::train {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr model::ModelConfig kShape{
    .layers = 1, .heads = 1, .channels = 4, .context = 3, .vocabulary = 9};

class CheckpointWriterTest : public testing::TestWithParam<bool> {
 protected:
  CheckpointWriter writer(std::uint64_t keep, std::uint64_t base_steps = 0) {
    io::RunState run;
    run.model = kShape;
    run.state = R"({"history": [{"from_step": 0}]})";
    return CheckpointWriter({.directory = scratch_.path(),
                             .keep = keep,
                             .base_steps = base_steps,
                             .background = GetParam()},
                            layout_, AdamW::kBuffers, pool_, run, [this] { ++announced_; });
  }

  /// Saves a state of this step, with this validation loss.
  void save(CheckpointWriter& to, std::uint64_t step, std::optional<double> loss = std::nullopt) {
    state_.step = step;
    state_.parameters[0] = static_cast<float>(step);
    state_.validation = loss ? std::optional(Score{step, *loss}) : std::nullopt;
    to.save(state_);
  }

  std::vector<std::string> files() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(scratch_.path())) {
      names.push_back(entry.path().filename().string());
    }
    std::ranges::sort(names);
    return names;
  }

  support::ScratchDirectory scratch_;
  model::Layout layout_{kShape};
  ThreadPool pool_{2};
  State state_{layout_, AdamW::kBuffers};
  int announced_ = 0;
};

INSTANTIATE_TEST_SUITE_P(Both, CheckpointWriterTest, testing::Bool(),
                         [](const auto& its) { return its.param ? "Background" : "Blocking"; });

TEST_P(CheckpointWriterTest, WritesTheStateAsItWas) {
  CheckpointWriter checkpoints = writer(0);
  save(checkpoints, 5);
  state_.parameters[0] = -1;  // training goes on
  checkpoints.wait();
  const auto reports = checkpoints.take_reports();
  ASSERT_EQ(reports.size(), 1u);
  EXPECT_EQ(reports[0].problem, "");
  EXPECT_EQ(reports[0].step, 5u);
  EXPECT_EQ(reports[0].bytes, fs::file_size(reports[0].path));
  EXPECT_GT(reports[0].seconds, reports[0].write_seconds);
  EXPECT_EQ(announced_, 1);
  State read(layout_, AdamW::kBuffers);
  ranks::SingleProcess alone;
  restore(reports[0].path, layout_, read, alone);
  EXPECT_EQ(read.parameters[0], 5);
  EXPECT_EQ(read.step, 5u);
  EXPECT_THAT(io::read_run_state(reports[0].path).state,
              HasSubstr(R"("history":[{"from_step":0,"to_step":5}])"));
  EXPECT_EQ(read_file(scratch_.path() / io::kLatestName), "step-00000005.h5\n");
  EXPECT_THAT(checkpoints.take_reports(), testing::IsEmpty());
}

// Of many ranks only one reads a large file, and only one has to see it.
TEST_P(CheckpointWriterTest, AllRanksRestoreWhatRank0Reads) {
  CheckpointWriter checkpoints = writer(0);
  state_.gradient_norms = {0.5, 1.0 / 3};
  state_.buffers[1].values()[3] = 0.5f;
  save(checkpoints, 5, 2.25);
  checkpoints.wait();
  const fs::path path = checkpoints.take_reports()[0].path;
  support::ThreadRanks(3).run([&](ranks::ProcessGroup& process_group) {
    const auto here = [&](const fs::path& file) {
      return process_group.rank() == 0 ? file : fs::path("nowhere");
    };
    ThreadPool pool(1);
    State read(layout_, AdamW::kBuffers, 2);
    restore(here(path), layout_, read, process_group);
    EXPECT_EQ(digest_of(read, pool), digest_of(state_, pool));
    AlignedBuffer<float> parameters(layout_.flat_size());
    read_parameters(here(path), layout_, parameters.span(), process_group);
    EXPECT_EQ(parameters[0], 5);
    EXPECT_THROW(restore(here(scratch_.path() / "none.h5"), layout_, read, process_group),
                 ReplicatedError);
  });
}

TEST_P(CheckpointWriterTest, KeepsTheNewestAndTheBest) {
  CheckpointWriter checkpoints = writer(2);
  save(checkpoints, 10, 3.0);
  save(checkpoints, 20, 2.0);
  save(checkpoints, 30, 2.5);
  checkpoints.wait();
  EXPECT_THAT(files(), ElementsAre("latest", "step-00000020.h5", "step-00000030.h5"));
  save(checkpoints, 40, 2.6);
  save(checkpoints, 50, 2.7);
  checkpoints.wait();
  EXPECT_THAT(files(),
              ElementsAre("latest", "step-00000020.h5", "step-00000040.h5", "step-00000050.h5"));
  save(checkpoints, 60, 1.9);
  checkpoints.wait();
  EXPECT_THAT(files(), ElementsAre("latest", "step-00000050.h5", "step-00000060.h5"));
}

TEST_P(CheckpointWriterTest, KnowsTheBestOfAnEarlierStart) {
  {
    CheckpointWriter checkpoints = writer(0);
    save(checkpoints, 10, 2.0);
    save(checkpoints, 20, 1.0);
    save(checkpoints, 30, 2.0);
  }
  CheckpointWriter checkpoints = writer(1);
  save(checkpoints, 40, 1.5);
  checkpoints.wait();
  EXPECT_THAT(files(), ElementsAre("latest", "step-00000020.h5", "step-00000040.h5"));
  EXPECT_THAT(
      checkpoints.take_reports().back().removed,
      ElementsAre(scratch_.path() / "step-00000010.h5", scratch_.path() / "step-00000030.h5"));
}

TEST_P(CheckpointWriterTest, KeepsTheNewestBase) {
  CheckpointWriter checkpoints = writer(1, 10);
  for (const std::uint64_t step : {10u, 20u, 21u, 22u}) save(checkpoints, step);
  checkpoints.wait();
  EXPECT_THAT(files(), ElementsAre("latest", "step-00000020.h5", "step-00000022.h5"));
}

TEST_P(CheckpointWriterTest, RemovesNothingWhenTheNewOneFails) {
  CheckpointWriter checkpoints = writer(1);
  save(checkpoints, 10);
  state_.buffers[1].values()[layout_.tensors()[0].offset] = std::numeric_limits<float>::infinity();
  save(checkpoints, 20);
  checkpoints.wait();
  const auto reports = checkpoints.take_reports();
  ASSERT_EQ(reports.size(), 2u);
  EXPECT_THAT(reports[1].problem, HasSubstr("step-00000020.h5 is not written"));
  EXPECT_THAT(files(), ElementsAre("latest", "step-00000010.h5"));
  EXPECT_EQ(read_file(scratch_.path() / io::kLatestName), "step-00000010.h5\n");
  state_.buffers[1].values()[layout_.tensors()[0].offset] = 1;
  save(checkpoints, 30);
  checkpoints.wait();
  EXPECT_THAT(files(), ElementsAre("latest", "step-00000030.h5"));
}

TEST_P(CheckpointWriterTest, WhatIsNewerIsSetAsideAndLatestNamesWhatStays) {
  CheckpointWriter checkpoints = writer(0);
  for (const std::uint64_t step : {10u, 12u, 14u}) save(checkpoints, step);
  EXPECT_THAT(checkpoints.forget_after(10),
              ElementsAre(testing::StartsWith("step-00000014.h5 is of a step that is now taken"),
                          testing::EndsWith("kept as step-00000012.h5.aside")));
  EXPECT_THAT(files(), ElementsAre("latest", "step-00000010.h5", "step-00000012.h5.aside",
                                   "step-00000014.h5.aside"));
  EXPECT_EQ(read_file(scratch_.path() / io::kLatestName), "step-00000010.h5\n");
  EXPECT_THAT(checkpoints.forget_after(10), testing::IsEmpty());
  // Where the run goes back to a checkpoint of another directory, none stays.
  checkpoints.forget_after(9);
  EXPECT_THAT(files(), testing::Not(testing::Contains(io::kLatestName)));
}

TEST_P(CheckpointWriterTest, LearnsHowLongItTakes) {
  CheckpointWriter checkpoints = writer(0);
  EXPECT_GT(checkpoints.expected_seconds(), 0);
  save(checkpoints, 1);
  checkpoints.wait();
  const auto report = checkpoints.take_reports().back();
  EXPECT_GE(checkpoints.expected_seconds(), report.seconds);
}

}  // namespace
}  // namespace cllm::train
