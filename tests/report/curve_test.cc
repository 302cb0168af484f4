#include "cllm/report/curve.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace cllm::report {
namespace {

Place at_step(std::uint64_t step) {
  return {.step = step, .tokens = 8.0 * static_cast<double>(step)};
}

TEST(Curve, KeepsEveryNumberOfAShortRun) {
  Curve curve;
  for (std::uint64_t step = 1; step <= Curve::kBuckets; ++step) {
    curve.add(at_step(step), 1.0 / static_cast<double>(step));
  }
  const std::vector<Point> points = curve.points();
  ASSERT_EQ(points.size(), Curve::kBuckets);
  for (std::size_t i = 0; i < points.size(); ++i) {
    EXPECT_EQ(points[i].at.step, i + 1);
    EXPECT_EQ(points[i].value, 1.0 / static_cast<double>(i + 1));
  }
  EXPECT_EQ(curve.means().size(), Curve::kBuckets);
}

TEST(Curve, AMillionStepsAreFewPointsAndKeepWhatStandsOut) {
  constexpr std::uint64_t kSteps = 1'000'000, kSpike = 654'321, kDip = 123'456;
  Curve curve;
  double sum = 0;
  for (std::uint64_t step = 1; step <= kSteps; ++step) {
    const double value = step == kSpike ? 100
                         : step == kDip ? -100
                                        : std::sin(static_cast<double>(step));
    curve.add(at_step(step), value);
    sum += value;
  }
  const std::vector<Point> points = curve.points();
  EXPECT_LE(points.size(), 2 * Curve::kBuckets);
  EXPECT_GT(points.size(), Curve::kBuckets / 2);
  const auto has = [&](std::uint64_t step, double value) {
    return std::ranges::any_of(
        points, [&](const Point& point) { return point.at.step == step && point.value == value; });
  };
  EXPECT_TRUE(has(kSpike, 100));
  EXPECT_TRUE(has(kDip, -100));
  EXPECT_TRUE(std::ranges::is_sorted(points, {}, [](const Point& p) { return p.at.step; }));
  EXPECT_EQ(curve.least()->at.step, kDip);
  EXPECT_EQ(curve.last()->at.step, kSteps);
  EXPECT_EQ(curve.last()->at.tokens, 8.0 * kSteps);

  // Buckets are of the same size but for the last, so means of means come near the mean of all.
  const std::vector<Point> means = curve.means();
  double of_means = 0;
  for (const Point& point : means) of_means += point.value;
  EXPECT_NEAR(of_means / static_cast<double>(means.size()), sum / kSteps, 0.01);

  for (const std::size_t most : std::vector<std::size_t>{400, 20, 2}) {
    const std::vector<Point> few = curve.points(most);
    EXPECT_LE(few.size(), most);
    EXPECT_GE(few.size(), most / 2);
  }
}

TEST(Curve, WhatIsNoNumberIsLeftOut) {
  Curve curve;
  curve.add(at_step(1), std::nan(""));
  curve.add(at_step(2), std::numeric_limits<double>::infinity());
  EXPECT_TRUE(curve.empty());
  EXPECT_THAT(curve.points(), testing::IsEmpty());
  EXPECT_FALSE(curve.least().has_value());
}

TEST(Curve, StepsOfAnySizeAndOrderAreBounded) {
  Curve curve;
  curve.add(at_step(std::numeric_limits<std::uint64_t>::max()), 1);
  curve.add(at_step(0), 2);
  curve.add(at_step(5), 3);
  curve.add(at_step(1), 4);
  const std::vector<Point> points = curve.points();
  EXPECT_LE(points.size(), 4u);
  EXPECT_EQ(points.back().at.step, std::numeric_limits<std::uint64_t>::max());
}

}  // namespace
}  // namespace cllm::report
