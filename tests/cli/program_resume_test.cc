#include "program_fixture.h"

namespace cllm::cli {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

/// A schedule that does not ask how long the run is, and a rate that six digits don't hold.
const Arguments kConstant = {"--schedule",          "constant",     "--warmup", "0", "--lr",
                             "0.00123456789012345", "--eval-every", "5"};

class ResumeTest : public ProgramTest {
 protected:
  void expect_same_end(const std::string& one, const std::string& other) const {
    EXPECT_EQ(digests(one), digests(other));
    EXPECT_EQ(values(one, "loss").back(), values(other, "loss").back());
    EXPECT_EQ(values(one, "val_loss").back(), values(other, "val_loss").back());
  }
};

TEST_F(ResumeTest, AResumedRunEndsAsOneThatNeverStopped) {
  succeed(tiny("straight", 20, kConstant));
  succeed(tiny("stopped", 10, kConstant));
  EXPECT_NE(digests("stopped"), digests("straight"));
  // Options that are not given are those of the checkpoint.
  const ChildResult resumed = succeed({"--resume", "stopped", "--steps", "20"});
  EXPECT_THAT(resumed.out, HasSubstr("at step 10"));
  expect_same_end("straight", "stopped");
  EXPECT_EQ(values("straight", "loss"), values("stopped", "loss"));
  EXPECT_EQ(read("straight/config.toml"), read("stopped/config.toml"));
  EXPECT_EQ(read("stopped/latest"), "step-00000020.h5\n");
}

TEST_F(ResumeTest, AutoResumesWhatIsThereHoweverItIsSpelled) {
  succeed(tiny("straight", 20, kConstant));
  for (const char* out : {"run", "./run", "run/", "../"}) {
    const std::string spelled =
        std::string(out) == "../" ? "../" + directory().filename().string() + "/run" : out;
    std::filesystem::remove_all(path("run"));
    succeed(tiny("run", 10, kConstant));
    EXPECT_THAT(succeed(tiny(spelled, 20, kConstant + Arguments{"--resume", "auto"})).out,
                HasSubstr("at step 10"));
    expect_same_end("straight", "run");
  }
}

TEST_F(ResumeTest, AutoWithNoCheckpointStartsNew) {
  const Arguments automatic = kConstant + Arguments{"--resume", "auto"};
  const ChildResult result = succeed(tiny("run", 10, automatic));
  EXPECT_THAT(result.out, Not(HasSubstr("resumed from")));
  // The same where a run ended before its first checkpoint.
  std::filesystem::remove(path("run/step-00000010.h5"));
  std::filesystem::remove(path("run/latest"));
  succeed(tiny("run", 10, automatic));
  EXPECT_THAT(steps_with("run", "loss"), ElementsAre(1, 2, 3, 4, 5, 6, 7, 8, 9, 10));
}

TEST_F(ResumeTest, MetricsHaveEachStepOnceAfterGoingBack) {
  succeed(tiny("run", 12, kConstant + Arguments{"--checkpoint-every", "5"}));
  EXPECT_THAT(files_in("run"),
              ElementsAre("complete", "config.toml", "latest", "metrics.jsonl", "step-00000005.h5",
                          "step-00000010.h5", "step-00000012.h5", "tensorboard",
                          testing::StartsWith("tensorboard/events.out.tfevents.")));
  const std::vector<double> losses = values("run", "loss");
  write("run/metrics.jsonl", read("run/metrics.jsonl") + "{\"step\":13,\"lo");  // it was killed
  succeed({"--resume", "run/step-00000005.h5", "--steps", "11"});
  EXPECT_THAT(steps_with("run", "loss"), ElementsAre(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11));
  EXPECT_THAT(steps_with("run", "val_loss"), ElementsAre(5, 10, 11));
  EXPECT_EQ(values("run", "loss"), std::vector<double>(losses.begin(), losses.end() - 1));
  // What was of later steps is kept, but no longer counts.
  EXPECT_THAT(
      files_in("run"),
      ElementsAre("complete", "config.toml", "latest", "metrics.jsonl", "metrics.jsonl.aside",
                  "step-00000005.h5", "step-00000010.h5", "step-00000010.h5.aside",
                  "step-00000011.h5", "step-00000012.h5.aside", "tensorboard",
                  testing::StartsWith("tensorboard/events.out.tfevents."), testing::_));
  EXPECT_THAT(succeed({"inspect", "run"}).out, HasSubstr("step-00000011.h5"));
  EXPECT_THAT(succeed({"--resume", "run", "--steps", "12"}).out, HasSubstr("at step 11"));
}

TEST_F(ResumeTest, AConfigurationMaySayWhatToResume) {
  succeed(tiny("run", 10, kConstant));
  write("again.toml", "resume = \"auto\"\nout = \"run\"\nsteps = 4\n");
  const auto before = files_in("run");
  EXPECT_THAT(succeed({"--config", "again.toml"}).out, HasSubstr("nothing to do: 10 steps"));
  EXPECT_EQ(files_in("run"), before);
  EXPECT_THAT(succeed({"--config", "again.toml", "--steps", "12"}).out, HasSubstr("at step 10"));
}

TEST_F(ResumeTest, WhatFollowsFromOtherOptionsFollowsAgain) {
  succeed(tiny("run", 10, {"--lr", "0.01"}));
  EXPECT_THAT(read("run/config.toml"), HasSubstr("# min-lr = 0.0001\n"));
  // The stored rate was 0.01 and the least a hundredth of it, which is more than the rate given
  // now.
  succeed({"--resume", "run", "--steps", "12", "--lr", "0.00001"});
  succeed({"--config", "run/config.toml", "--steps", "3", "--preset", "mini", "--out", "wide"});
  EXPECT_THAT(succeed({"inspect", "wide"}).out, HasSubstr("4 layers, 4 heads, 128 channels"));
}

TEST_F(ResumeTest, EpochsSayHowLongARunIs) {
  write("text.txt", sample_text(400));
  const Arguments data = {"--data",    "text.txt", "--preset",         "tiny", "--batch", "4",
                          "--threads", "1",        "--eval-sequences", "8"};
  const std::string out = succeed(data + Arguments{"--epochs", "0.5", "--out", "run"}).out;
  const auto tokens = values("run", "tokens").back();
  EXPECT_THAT(out, HasSubstr("the run reads the data 0.5"));
  const auto steps = std::to_string(steps_with("run", "loss").size());
  EXPECT_THAT(read("run/config.toml"), HasSubstr("# steps = " + steps + "\nepochs = 0.5\n"));
  EXPECT_THAT(read("run/config.toml"), HasSubstr("\n# warmup = "));
  // A later source's length replaces an earlier one's.
  EXPECT_THAT(succeed({"--resume", "run", "--epochs", "1"}).out,
              HasSubstr("changed --epochs is 1; it was 0.5"));
  EXPECT_NEAR(values("run", "tokens").back(), 2 * tokens, 4 * 64);
  const std::string more = std::to_string(steps_with("run", "loss").size() + 1);
  succeed({"--resume", "run", "--steps", more});
  EXPECT_THAT(read("run/config.toml"),
              AllOf(HasSubstr("\nsteps = " + more + "\n"), Not(HasSubstr("epochs"))));
  EXPECT_THAT(succeed({"--config", "run/config.toml", "--epochs", "0.1", "--out", "short"}).out,
              HasSubstr("the run reads the data 0.1"));
}

TEST_F(ResumeTest, OtherDataGoesOnWithTheTokenizerOfTheCheckpointAndSaysSo) {
  write("one.txt", sample_text(300));
  write("two.txt", sample_text(400));
  const Arguments data = {"--data", "one.txt", "--tokenizer", "bpe:320"};
  EXPECT_THAT(succeed(tiny("run", 4, data)).out, Not(HasSubstr("not that of the checkpoint")));
  EXPECT_THAT(succeed({"--resume", "run", "--steps", "6"}).out,
              Not(HasSubstr("not that of the checkpoint")));
  EXPECT_THAT(succeed({"--resume", "run", "--steps", "8", "--data", "two.txt"}).out,
              HasSubstr("the data is not that of the checkpoint"));
}

TEST_F(ResumeTest, ACheckpointMayGoOnInAnotherDirectory) {
  succeed(tiny("straight", 20, kConstant));
  succeed(tiny("run", 10, kConstant));
  const auto before = files_in("run");
  succeed({"--resume", "run/step-00000010.h5", "--steps", "20", "--out", "other"});
  EXPECT_EQ(files_in("run"), before);
  expect_same_end("straight", "other");
}

TEST_F(ResumeTest, AFinishedRunIsLeftAsItIs) {
  succeed(tiny("run", 5, kConstant));
  const auto before = digests("run");
  EXPECT_THAT(succeed({"--resume", "run"}).out, HasSubstr("nothing to do"));
  EXPECT_EQ(digests("run"), before);
}

TEST_F(ResumeTest, RanksResumeAsOneDoes) {
  succeed_on(2, tiny("straight", 20, kConstant));
  succeed_on(2, tiny("run", 10, kConstant));
  const ChildResult resumed = succeed_on(2, {"--resume", "run", "--steps", "20"});
  EXPECT_EQ(count_lines(resumed.out, "resumed from"), 1);
  expect_same_end("straight", "run");
}

}  // namespace
}  // namespace cllm::cli
