#include "cllm/base/elementary.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numbers>
#include <random>

namespace cllm {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// The distance of y from the exact value, which a long double is near enough to, in units in the
/// last place of y.
double ulps(double y, long double exact) {
  if (static_cast<long double>(y) == exact) return 0;
  const double unit = std::nextafter(std::abs(y), kInfinity) - std::abs(y);
  return static_cast<double>(std::abs(static_cast<long double>(y) - exact)) / unit;
}

template <typename Function, typename Exact>
double worst(double from, double to, const Function& function, const Exact& exact) {
  std::mt19937_64 random(7);
  std::uniform_real_distribution<double> uniform(from, to);
  double most = 0;
  for (int i = 0; i < 200'000; ++i) {
    const double x = uniform(random);
    most = std::max(most, ulps(function(x), exact(static_cast<long double>(x))));
  }
  return most;
}

TEST(ElementaryTest, ExponentialAndLogarithmAreWithinTwoUnits) {
  const auto exp = [](long double x) { return std::exp(x); };
  for (const double end : {1e-9, 0.1, 1.0, 40.0, 700.0}) {
    EXPECT_LE(worst(-end, end, exponential, exp), 2) << end;
  }
  const auto log = [](long double x) { return std::log(x); };
  EXPECT_LE(worst(0.5, 2, logarithm, log), 2);
  EXPECT_LE(worst(0.999, 1.001, logarithm, log), 2);
  EXPECT_LE(worst(0, 1e-3, logarithm, log), 2);
  EXPECT_LE(worst(1, 1e300, logarithm, log), 2);
}

TEST(ElementaryTest, SineAndCosineAreWithinTwoUnitsOrNearZero) {
  for (const double end : {1e-6, 0.8, 7.0, 1000.0, 0x1p22}) {
    std::mt19937_64 random(8);
    std::uniform_real_distribution<double> uniform(-end, end);
    for (int i = 0; i < 100'000; ++i) {
      const double x = uniform(random);
      const auto wide = static_cast<long double>(x);
      for (const auto& [value, exact] :
           {std::pair{sine(x), std::sin(wide)}, std::pair{cosine(x), std::cos(wide)}}) {
        const auto error = std::abs(static_cast<long double>(value) - exact);
        ASSERT_TRUE(ulps(value, exact) <= 2 || error <= 0x1p-52L) << x;
      }
    }
  }
  EXPECT_EQ(cosine(0), 1);
  EXPECT_EQ(cosine(std::numbers::pi), -1);
  EXPECT_EQ(sine(0), 0);
}

TEST(ElementaryTest, PowersAreAsNearAsTheirLogarithmsAre) {
  for (const double x : {0.9, 0.95, 0.999, 10'000.0, 1e6}) {
    for (const double y : {-1.0, -0.123, 0.0, 0.75, 1.0, 17.0, 50.0}) {
      const long double exact = std::pow(static_cast<long double>(x), static_cast<long double>(y));
      EXPECT_LE(ulps(power(x, y), exact), 2 + 2 * std::abs(y * std::log(x))) << x << " " << y;
    }
  }
  EXPECT_EQ(power(123.0, 0), 1);
}

TEST(ElementaryTest, SpecialValues) {
  EXPECT_EQ(exponential(0), 1);
  EXPECT_EQ(exponential(-kInfinity), 0);
  EXPECT_EQ(exponential(kInfinity), kInfinity);
  EXPECT_GT(exponential(-745), 0);
  EXPECT_TRUE(std::isnan(exponential(std::numeric_limits<double>::quiet_NaN())));
  EXPECT_EQ(logarithm(1), 0);
  EXPECT_EQ(logarithm(0), -kInfinity);
  EXPECT_EQ(logarithm(kInfinity), kInfinity);
  EXPECT_TRUE(std::isnan(logarithm(-1)));
  EXPECT_NEAR(logarithm(std::numeric_limits<double>::denorm_min()), -744.4400719213812, 1e-12);
}

}  // namespace
}  // namespace cllm
