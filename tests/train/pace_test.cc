#include "cllm/train/pace.h"

#include <gtest/gtest.h>

#include <limits>

namespace cllm::train {
namespace {

constexpr double kForever = std::numeric_limits<double>::infinity();

TEST(Pace, TheFirstStepCountsWhileItIsAlone) {
  Pace pace(100, 10, 0);
  pace.step(8);
  EXPECT_EQ(pace.step_seconds(), 8);
  pace.step(2);
  EXPECT_EQ(pace.step_seconds(), 2);
  pace.step(4);
  EXPECT_EQ(pace.step_seconds(), 3) << "the mean of the second and the third";
  EXPECT_EQ(pace.taken(), 3u);
}

TEST(Pace, EvaluationsAreAGuessUntilThereWasOne) {
  Pace pace(100, 10, 3);
  for (int step = 0; step < 5; ++step) pace.step(2);
  // Evaluations after 10, 20, …, 100.
  EXPECT_DOUBLE_EQ(pace.seconds_left(5), 95 * 2 + 10 * 6);
  pace.evaluation(10);
  EXPECT_DOUBLE_EQ(pace.seconds_left(10), 90 * 2 + 9 * 10);
  EXPECT_DOUBLE_EQ(pace.seconds_left(99), 2 + 10);
  EXPECT_EQ(pace.seconds_left(100), 0);
  // One more at the end, where that is no multiple.
  Pace odd(25, 10, 1);
  odd.step(1);
  EXPECT_DOUBLE_EQ(odd.seconds_left(10), 15 + 2);
  // None but that.
  Pace never(25, 0, 1);
  never.step(1);
  EXPECT_DOUBLE_EQ(never.seconds_left(10), 15 + 1);
}

TEST(Pace, ForetellsTheEndAndHowManyStartsItTakes) {
  EXPECT_EQ(forecast(11100, 1995, kForever, kForever),
            "time    about 3h05m for the 1995 steps that are left");
  EXPECT_EQ(forecast(50, 1, 60, 100), "time    about 50s for the 1 step that is left");
  EXPECT_EQ(forecast(100 * 3600, 99, 11 * 3600, 12 * 3600),
            "time    about 100h00m for the 99 steps that are left, but this start ends in 11h00m: "
            "it takes about 8 more starts (--resume, or a job that is requeued)");
  EXPECT_EQ(forecast(23 * 3600, 99, 11 * 3600, 12 * 3600),
            "time    about 23h00m for the 99 steps that are left, but this start ends in 11h00m: "
            "it takes about 1 more start (--resume, or a job that is requeued)");
}

}  // namespace
}  // namespace cllm::train
