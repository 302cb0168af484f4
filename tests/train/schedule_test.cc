#include "cllm/train/schedule.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "cllm/base/error.h"

namespace cllm::train {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

Schedule schedule(Decay decay) {
  return {
      .decay = decay, .learning_rate = 1.0, .min_learning_rate = 0.1, .warmup = 10, .steps = 111};
}

TEST(Schedule, WarmsUpToTheRateAndEndsAtTheLeast) {
  for (const Decay decay : {Decay::kCosine, Decay::kLinear, Decay::kWsd}) {
    const Schedule s = schedule(decay);
    EXPECT_DOUBLE_EQ(s.at(0), 0.1);
    EXPECT_DOUBLE_EQ(s.at(4), 0.5);
    EXPECT_DOUBLE_EQ(s.at(9), 1.0);
    EXPECT_DOUBLE_EQ(s.at(10), 1.0);
    EXPECT_NEAR(s.at(110), 0.1, 1e-15);
    EXPECT_NEAR(s.at(5000), 0.1, 1e-15);
    for (std::uint64_t step = 10; step < 111; ++step) EXPECT_LE(s.at(step + 1), s.at(step));
  }
}

TEST(Schedule, HasTheShapeOfItsName) {
  EXPECT_NEAR(schedule(Decay::kCosine).at(60), 0.55, 1e-12);  // half way
  EXPECT_NEAR(schedule(Decay::kCosine).at(35), 0.1 + 0.9 * (1 + std::sqrt(0.5)) / 2, 1e-12);
  EXPECT_NEAR(schedule(Decay::kLinear).at(35), 0.775, 1e-12);
  EXPECT_EQ(schedule(Decay::kWsd).at(87), 1.0);
  EXPECT_LT(schedule(Decay::kWsd).at(88), 1.0);
  EXPECT_EQ(schedule(Decay::kConstant).at(110), 1.0);
}

TEST(Schedule, OneStepIsEnough) {
  for (const Decay decay : {Decay::kCosine, Decay::kLinear, Decay::kWsd, Decay::kConstant}) {
    const Schedule s{
        .decay = decay, .learning_rate = 1.0, .min_learning_rate = 0.1, .warmup = 0, .steps = 1};
    EXPECT_EQ(s.at(0), 1.0);
  }
}

TEST(Schedule, ErrorsNameTheOption) {
  const auto expect = [](const Schedule& s, const char* text) {
    EXPECT_THAT([&] { validate(s); }, ThrowsMessage<Error>(HasSubstr(text)));
  };
  EXPECT_NO_THROW(validate(schedule(Decay::kCosine)));
  expect({.steps = 0}, "--steps 0");
  expect({.learning_rate = -1, .steps = 10}, "--lr -1");
  expect({.learning_rate = std::nan(""), .steps = 10}, "--lr");
  expect({.learning_rate = 1e-3, .min_learning_rate = 1e-2, .steps = 10}, "--min-lr");
  expect({.warmup = 10, .steps = 10}, "--warmup 10");
}

}  // namespace
}  // namespace cllm::train
