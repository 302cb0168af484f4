#include "cllm/report/axis.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

namespace cllm::report {
namespace {

using testing::ElementsAre;

std::vector<std::string> texts(const Axis& axis) {
  std::vector<std::string> all;
  for (const Tick& tick : axis.ticks) all.push_back(tick.text);
  return all;
}

TEST(Axis, TicksAreRoundNumbers) {
  EXPECT_THAT(texts(linear_axis(1, 2000, 5, false)), ElementsAre("500", "1,000", "1,500", "2,000"));
  EXPECT_THAT(texts(linear_axis(2.13, 6.02, 5, true)), ElementsAre("2", "3", "4", "5", "6", "7"));
  EXPECT_THAT(texts(linear_axis(0, 0.012, 5, true)),
              ElementsAre("0.000", "0.005", "0.010", "0.015"));
  EXPECT_THAT(texts(linear_axis(0, 2e6, 4, false)), ElementsAre("0", "500k", "1M", "1.5M", "2M"));
  EXPECT_THAT(texts(linear_axis(-3, 3, 3, false)), ElementsAre("-2", "0", "2"));
}

TEST(Axis, ALogarithmHasPowersOfTen) {
  EXPECT_THAT(texts(log_axis(0.01, 100, 5)), ElementsAre("0.01", "0.1", "1", "10", "100"));
  EXPECT_THAT(texts(log_axis(0.4, 3, 5)), ElementsAre("0.2", "0.5", "1", "2", "5"));
}

TEST(Axis, PlacesFollowTheNumbers) {
  const Axis linear = linear_axis(2, 6, 4, false), log = log_axis(0.01, 100, 5);
  EXPECT_DOUBLE_EQ(linear.at(2), 0);
  EXPECT_DOUBLE_EQ(linear.at(3), 0.25);
  EXPECT_DOUBLE_EQ(linear.at(6), 1);
  EXPECT_DOUBLE_EQ(log.at(1), 0.5);
  EXPECT_DOUBLE_EQ(log.at(100), 1);
}

TEST(Axis, AnyRangeGivesSomeAxis) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  const std::vector<double> ends = {0,
                                    1,
                                    -1,
                                    1e-300,
                                    -1e300,
                                    1e300,
                                    1e308,
                                    kInfinity,
                                    -kInfinity,
                                    std::nan(""),
                                    1.0000000000000002};
  for (const double low : ends) {
    for (const double high : ends) {
      for (const Axis& axis : {linear_axis(low, high, 5, true), linear_axis(low, high, 5, false),
                               log_axis(low, high, 5)}) {
        EXPECT_LT(axis.low, axis.high) << low << " " << high;
        EXPECT_TRUE(std::isfinite(axis.low) && std::isfinite(axis.high)) << low << " " << high;
        EXPECT_LE(axis.ticks.size(), 16u) << low << " " << high;
        EXPECT_TRUE(std::isfinite(axis.at(0))) << low << " " << high;
        EXPECT_TRUE(std::isfinite(axis.at(1e300))) << low << " " << high;
      }
    }
  }
}

}  // namespace
}  // namespace cllm::report
