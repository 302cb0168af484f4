#include "cllm/cli/other_names.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace cllm::cli {
namespace {

TEST(NearestTest, FindsTheNameWithTheFewestEdits) {
  const std::vector<std::string> known = {"--steps", "--seed", "--batch", "--lr"};
  EXPECT_EQ(nearest("--steps", known), "--steps");
  EXPECT_EQ(nearest("--stpes", known), "--steps");
  EXPECT_EQ(nearest("--step", known), "--steps");
  EXPECT_EQ(nearest("--sed", known), "--seed");
  EXPECT_EQ(nearest("--batches", known), "--batch");
}

TEST(NearestTest, FindsNothingWhereNoNameIsNear) {
  EXPECT_EQ(nearest("--momentum", {"--steps", "--batch"}), "");
  EXPECT_EQ(nearest("anything", {}), "");
}

TEST(NearestTest, ALongNameMayHaveMoreErrors) {
  EXPECT_EQ(nearest("--evaluate-sequences", {"--eval-sequences"}), "--eval-sequences");
  EXPECT_EQ(nearest("abcd", {"wxyd"}), "");
}

const std::vector<std::string> kTraining = {"batch",   "micro-batch", "lr",     "steps",
                                            "context", "windows",     "layers", "checkpoint-every",
                                            "resume",  "init-from",   "loss-on"};

TEST(OtherNamesTest, WhatOtherProgramsCallAnOptionHasItsNameHere) {
  const auto advice = [](std::string_view name) { return option_advice(name, kTraining, "--"); };
  EXPECT_EQ(advice("batch_size"), "; it is called --batch here");
  EXPECT_EQ(advice("learning-rate"), "; it is called --lr here");
  EXPECT_EQ(advice("packing"), "; it is called --windows here");
  EXPECT_EQ(advice("train_on_inputs"), "; it is called --loss-on here");
  EXPECT_EQ(advice("Block_Size"), "; it is called --context here");
  EXPECT_EQ(advice("n_layer"), "; it is called --layers here");
  EXPECT_EQ(advice("max_iters"), "; it is called --steps here");
  EXPECT_EQ(advice("save_steps"), "; it is called --checkpoint-every here");
  EXPECT_EQ(advice("micro_batch"), "; it is written --micro-batch here");
  EXPECT_EQ(option_advice("batch_size", kTraining, ""), "; it is called batch here");
}

TEST(OtherNamesTest, AnOptionOfAnotherCommandIsNotAdvised) {
  EXPECT_EQ(option_advice("max_new_tokens", {"prompt", "tokens"}, "--"),
            "; it is called --tokens here");
  EXPECT_EQ(option_advice("learning-rate", {"prompt", "tokens"}, "--"), "");
  EXPECT_EQ(option_advice("ckpt", {"checkpoint", "tokens"}, "--"),
            "; it is called --checkpoint here");
}

TEST(OtherNamesTest, WhatThereIsNotHasItsReason) {
  const auto advice = [](std::string_view name) { return option_advice(name, kTraining, "--"); };
  EXPECT_EQ(advice("dropout").substr(0, 24), "; there is no dropout, a");
  EXPECT_EQ(advice("bf16"), "; it computes in float32");
  EXPECT_NE(advice("gradient_accumulation_steps").find("--batch is the whole step's"),
            std::string::npos);
}

TEST(OtherNamesTest, TypingErrorsHaveTheNearestName) {
  EXPECT_EQ(option_advice("stpes", kTraining, "--"), "; did you mean --steps?");
  EXPECT_EQ(option_advice("momentum", kTraining, "--"), "");
}

TEST(OtherNamesTest, Commands) {
  const std::vector<std::string> commands = {"sample", "eval", "compress"};
  EXPECT_EQ(command_advice("generate", commands), "; it is called sample here");
  EXPECT_EQ(command_advice("sampel", commands), "; did you mean sample?");
  EXPECT_NE(command_advice("train", commands).find("and no command, trains"), std::string::npos);
}

}  // namespace
}  // namespace cllm::cli
