// Where a run may be interrupted and go on as if it had not been, and what may then be different.
#include <fmt/format.h>

#include <filesystem>

#include "program_fixture.h"

namespace cllm::cli {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

/// Text of which 13 sequences a step read an epoch in some twelve steps, so that a run of 40 has
/// three epochs and a bit; and a warm-up of nine steps.
constexpr int kSteps = 40;
const Arguments kEpochs = {"--data",
                           "text.txt",
                           "--batch",
                           "13",
                           "--micro-batch",
                           "1",
                           "--warmup",
                           "9",
                           "--checkpoint-every",
                           "1",
                           "--eval-every",
                           "5"};
constexpr int kSequences = 12 * 13;  // of an epoch

class CheckpointsTest : public ProgramTest {
 protected:
  void SetUp() override {
    // The training part has 0.9 of the bytes, and an epoch a window less than these have.
    write("text.txt", sample_text(3000).substr(0, (kSequences + 1) * 64 * 10 / 9 + 30));
  }

  /// A run that starts from another's checkpoint, alone in a directory of its own.
  std::string take_over(const std::string& run, int step) const {
    const std::string name = fmt::format("step-{:08}.h5", step);
    const std::string other = fmt::format("from-{}-{}", run, ++taken_);
    fs::create_directories(path(other));
    fs::copy_file(path(run) / name, path(other) / name);
    return other;
  }

  /// Goes on from a step of `run` to its end, and compares with how that went on.
  void expect_same_from(const std::string& run, int step, int ranks = 1,
                        const Arguments& more = {}) const {
    const std::string other = take_over(run, step);
    const Arguments options = Arguments{"--resume", other, "--checkpoint-every", "0"} + more;
    const ChildResult result = ranks == 1 ? program(options) : program_on(ranks, options);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_THAT(result.out, HasSubstr(fmt::format("at step {}", step)));
    EXPECT_EQ(digests(other), digests(run)) << "from step " << step << " on " << ranks;
    const std::vector<double> losses = values(run, "loss");
    EXPECT_EQ(values(other, "loss"), std::vector<double>(losses.begin() + step, losses.end()));
    EXPECT_EQ(values(other, "val_loss").back(), values(run, "val_loss").back());
  }

 private:
  mutable int taken_ = 0;
};

TEST_F(CheckpointsTest, GoOnFromAnyMoment) {
  const ChildResult straight = succeed(tiny("straight", kSteps, kEpochs));
  EXPECT_THAT(straight.out, HasSubstr("reads the data 3.33 times"));
  // In and at the end of warm-up, in an epoch, one before, at and one after an epoch's end, at an
  // evaluation, in the third epoch, and before the last step.
  for (const int step : {1, 8, 9, 11, 12, 13, 15, 24, 29, 36, 39}) {
    expect_same_from("straight", step);
  }
}

TEST_F(CheckpointsTest, GoOnOnOtherRanksAndThreads) {
  succeed_on(2, tiny("straight", kSteps, kEpochs));
  const std::vector<std::pair<int, const char*>> splits = {{1, "1"}, {1, "2"}, {1, "3"}, {1, "4"},
                                                           {2, "2"}, {3, "1"}, {4, "1"}, {5, "1"}};
  for (const auto& [ranks, threads] : splits) {
    expect_same_from("straight", 17, ranks, {"--threads", threads});
  }
}

TEST_F(CheckpointsTest, GoOnWithFloatSumsOnTheSameRanks) {
  succeed_on(2, tiny("straight", kSteps, kEpochs + Arguments{"--reduce", "fp32"}));
  expect_same_from("straight", 17, 2);
  // The sums of other ranks have another order: that is what this test would find.
  const std::string other = take_over("straight", 17);
  succeed({"--resume", other});
  EXPECT_NE(digests(other), digests("straight"));
}

TEST_F(CheckpointsTest, EvaluationsChangeNothing) {
  succeed(tiny("straight", kSteps, kEpochs));
  const std::string other = take_over("straight", 10);
  succeed({"--resume", other, "--eval-every", "1", "--eval-sequences", "all"});
  EXPECT_EQ(digests(other), digests("straight"));
}

TEST_F(CheckpointsTest, WhatChangesIsSaid) {
  write("other.txt", sample_text(500));
  succeed_on(2, tiny("run", 10, {"--data", "text.txt", "--tokenizer", "bytes"}));
  const ChildResult result =
      succeed({"--resume", "run", "--steps", "12", "--lr", "0.002", "--schedule", "cosine",
               "--data", "other.txt", "--keep", "3"});
  for (const char* line :
       {"changed --steps is 12; it was 10\n", "changed --lr is 0.002; it was 0.014\n",
        "changed --schedule is cosine; it was linear\n", "changed --keep is 3; it was 0\n",
        "changed ranks is 1; it was 2\n", "changed the data is not that of the checkpoint"}) {
    EXPECT_THAT(result.out, HasSubstr(line));
  }
  EXPECT_THAT(succeed({"--resume", "run", "--steps", "13"}).out, Not(HasSubstr("changed --lr")));
}

TEST_F(CheckpointsTest, WhatMayNotChangeIsRefusedWithBothValues) {
  succeed(tiny("run", 5, {"--data", "text.txt"}));
  const auto before = files_in("run");
  const auto refuse = [&](const Arguments& more, const std::string& regex) {
    expect_one_sentence(program(Arguments{"--resume", "run", "--steps", "9"} + more), regex);
    EXPECT_EQ(files_in("run"), before);
  };
  refuse({"--layers", "3"}, "2 layers.* 3 layers");
  refuse({"--context", "32"}, "context 64.* context 32");
  refuse({"--seed", "7"}, "--seed 1, and --seed 7");
  refuse({"--tokenizer", "bpe:300"}, "tokenizer|vocabulary 256.*vocabulary 300");
}

TEST_F(CheckpointsTest, BrokenOnesArePassedOver) {
  succeed(tiny("straight", 30, {"--checkpoint-every", "5"}));
  succeed(tiny("run", 20, {"--checkpoint-every", "5", "--steps", "30"}));
  for (const char* name : {"step-00000030.h5", "step-00000025.h5"}) {
    fs::resize_file(path("run") / name, fs::file_size(path("run") / name) - 5000);
  }
  std::string flipped = read("run/step-00000020.h5");
  flipped[flipped.size() / 2] = static_cast<char>(flipped[flipped.size() / 2] ^ 4);
  write("run/step-00000020.h5", flipped);
  const ChildResult result = succeed({"--resume", "auto", "--out", "run"});
  EXPECT_EQ(count_lines(result.out, "note    passed over: "), 3);
  EXPECT_THAT(result.out, HasSubstr("step-00000020.h5 is damaged"));
  EXPECT_THAT(result.out,
              HasSubstr("step-00000015.h5 at step 15: the newest of 6 in run that is whole"));
  EXPECT_EQ(digests("run"), digests("straight"));
  EXPECT_THAT(files_in("run"), testing::Contains("step-00000025.h5.aside")) << "nothing is lost";

  for (const std::string& name : files_in("run")) {
    if (name.ends_with(".h5")) fs::resize_file(path("run") / name, 3000);
  }
  expect_one_sentence(program({"--resume", "auto", "--out", "run"}), "none of the 6 .* is whole");
}

TEST_F(CheckpointsTest, OneThatIsNotWhatItsNameSaysIsPassedOver) {
  succeed(tiny("run", 20, {"--checkpoint-every", "5"}));
  fs::copy_file(path("run/step-00000005.h5"), path("run/step-00000030.h5"));
  fs::create_directory(path("run/step-00000040.h5"));
  const ChildResult result = succeed({"--resume", "auto", "--out", "run", "--steps", "22"});
  EXPECT_THAT(result.out, HasSubstr("step-00000040.h5 is not a regular file"));
  EXPECT_THAT(result.out, HasSubstr("step-00000030.h5 holds step 5"));
  EXPECT_THAT(result.out, HasSubstr("step-00000020.h5 at step 20"));
}

TEST_F(CheckpointsTest, WhereAllAreGoneNothingBeginsAnewUnasked) {
  succeed(tiny("run", 5));
  fs::remove(path("run/step-00000005.h5"));
  const std::string before = read("run/metrics.jsonl");
  expect_one_sentence(program(tiny("run", 10, {"--resume", "auto"})), "latest says .* put it back");
  EXPECT_EQ(read("run/metrics.jsonl"), before);
}

TEST_F(CheckpointsTest, GoingBackRenamesNothingUntilItCanGoOn) {
  succeed(tiny("run", 20, {"--checkpoint-every", "5"}));
  fs::remove(path("run/metrics.jsonl"));
  fs::create_directory(path("run/metrics.jsonl"));
  const auto before = files_in("run");
  expect_one_sentence(program({"--resume", "run/step-00000005.h5"}), "metrics.jsonl");
  EXPECT_EQ(files_in("run"), before);
}

TEST_F(CheckpointsTest, KeepLeavesTheNewest) {
  succeed(tiny(
      "run", 24,
      {"--checkpoint-every", "4", "--eval-every", "4", "--keep", "2", "--tensorboard", "off"}));
  EXPECT_THAT(files_in("run"), ElementsAre("complete", "config.toml", "latest", "metrics.jsonl",
                                           "step-00000020.h5", "step-00000024.h5"));
  EXPECT_EQ(metrics("run", "checkpoint").size(), 6u);
  EXPECT_EQ(read("run/latest"), "step-00000024.h5\n");
}

TEST_F(CheckpointsTest, ANewRunMayStartFromTheWeights) {
  succeed(tiny("first", 20, {"--data", "text.txt"}));
  write("other.txt", sample_text(700));
  const auto before = files_in("first");
  const ChildResult result =
      succeed({"--init-from", "first", "--data", "other.txt", "--steps", "10", "--batch", "4",
               "--threads", "1", "--out", "second", "--seed", "5"});
  EXPECT_THAT(result.out, HasSubstr("weights from"));
  EXPECT_THAT(result.out, HasSubstr("2 layers, 2 heads, 64 channels, context 64"));
  EXPECT_EQ(files_in("first"), before);
  EXPECT_EQ(values("second", "loss").size(), 10u);
  EXPECT_LT(values("second", "loss").front(), values("first", "loss")[5]) << "it knows nothing";
  EXPECT_THAT(succeed({"inspect", "second"}).out, HasSubstr("10 steps"));
  // A fresh optimizer: with a rate of next to nothing, one step leaves the first run's weights.
  EXPECT_THAT(read("second/config.toml"), Not(HasSubstr("init-from")));
  // In a job that is started again, --resume auto comes before it.
  EXPECT_THAT(
      succeed({"--init-from", "first", "--resume", "auto", "--out", "second", "--steps", "12"}).out,
      HasSubstr("at step 10"));
  expect_one_sentence(program({"--init-from", "first", "--resume", "second"}), "give one of them");
  expect_one_sentence(program({"--init-from", "first", "--out", "third", "--layers", "3"}),
                      "2 layers.* 3 layers");
}

TEST_F(CheckpointsTest, ADirectoryWithoutTheLastStateIsNotMarkedComplete) {
  succeed(tiny("run", 10, {"--checkpoint-every", "5"}));
  EXPECT_THAT(succeed({"--resume", "run", "--out", "other"}).out, HasSubstr("nothing to do"));
  EXPECT_FALSE(fs::exists(path("other")));
  fs::remove(path("run/complete"));
  succeed({"--resume", "run/step-00000005.h5", "--steps", "5"});
  EXPECT_THAT(files_in("run"), Not(testing::Contains("complete")));
  EXPECT_THAT(files_in("run"), testing::Contains("step-00000010.h5"));
  succeed({"--resume", "run"});
  EXPECT_THAT(files_in("run"), testing::Contains("complete"));
}

TEST_F(CheckpointsTest, ACheckpointTellsHowItCameAbout) {
  succeed_on(2, tiny("run", 10));
  succeed({"--resume", "run", "--steps", "12"});
  const std::string out = succeed({"inspect", "run"}).out;
  EXPECT_THAT(out, HasSubstr("steps 0 to 10: new, cllm-dist "));
  EXPECT_THAT(out, HasSubstr("ranks 2, threads 1, hosts 1, exact"));
  EXPECT_THAT(out, HasSubstr("steps 10 to 12: resumed from step-00000010.h5"));
  EXPECT_THAT(out, HasSubstr("best        loss "));
}

}  // namespace
}  // namespace cllm::cli
