#include "cllm/train/saved_state.h"

#include <gtest/gtest.h>

#include "cllm/base/error.h"
#include "cllm/model/gradient.h"

namespace cllm::train {
namespace {

constexpr model::ModelConfig kShape{
    .layers = 1, .heads = 1, .channels = 4, .context = 3, .vocabulary = 9};

TEST(SavedState, NumbersComeBackWithTheSameBits) {
  const model::Layout layout(kShape);
  StateValues state;
  state.step = 100;
  state.tokens_seen = 300;
  state.updates = 98;
  state.sequences = 123;
  state.scale_exponents.assign(model::Tiling(layout).rows(), -7);
  state.gradient_norms = {0.1, 1.0 / 3, 5e-324, 1.7976931348623157e308};
  state.not_finite_in_a_row = 2;
  state.validation = Score{90, 2.0 / 3};
  state.evaluations_since_best = 3;
  StateValues read;
  state_from_json(state_to_json(state, R"({"data":"x"})"), "here", layout, read);
  EXPECT_EQ(read.updates, 98u);
  EXPECT_EQ(read.sequences, 123u);
  EXPECT_EQ(read.scale_exponents, state.scale_exponents);
  EXPECT_EQ(read.gradient_norms, state.gradient_norms);
  EXPECT_EQ(read.not_finite_in_a_row, 2u);
  EXPECT_EQ(read.validation->loss, 2.0 / 3);
  EXPECT_FALSE(read.best);
  EXPECT_EQ(read.evaluations_since_best, 3u);
}

TEST(SavedState, WhatOlderProgramsDidNotWriteFollowsFromTheSteps) {
  const model::Layout layout(kShape);
  StateValues state;
  state.step = 7;
  state.tokens_seen = 21 * kShape.context;
  state_from_json("{}", "here", layout, state);
  EXPECT_EQ(state.updates, 7u);
  EXPECT_EQ(state.sequences, 21u);
  EXPECT_EQ(state.evaluations_since_best, 0u);
}

TEST(SavedState, OtherTextIsRefused) {
  const model::Layout layout(kShape);
  StateValues state;
  for (const char* text : {"", "[]", "{\"row_scales\":\"many\"}", "{\"best\":3}",
                           "{\"evaluations_since_best\":\"many\"}", "{\"row_scales\":[1]}"}) {
    EXPECT_THROW(state_from_json(text, "here", layout, state), Error) << text;
  }
}

}  // namespace
}  // namespace cllm::train
