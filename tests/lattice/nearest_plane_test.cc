#include "cllm/lattice/nearest_plane.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "cllm/base/error.h"
#include "cllm/lattice/reduce.h"
#include "lattice/examples.h"
#include "support/error_of.h"

/// Babai's nearest plane, against its bound, a plain version of itself, and exhaustive search.
namespace cllm::lattice {
namespace {

using Reals = std::vector<double>;
using Codes = std::vector<std::int64_t>;
using ::testing::HasSubstr;

/// t - z B.
Reals error_of_code(const double* target, const std::int64_t* code, const Reals& basis,
                    std::size_t n) {
  const std::size_t m = basis.size() / n;
  Reals result(target, target + m);
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t j = 0; j < m; ++j) {
      result[j] -= static_cast<double>(code[i]) * basis[i * m + j];
    }
  }
  return result;
}

double squared(const Reals& vector) {
  double sum = 0;
  for (const double value : vector) sum += value * value;
  return sum;
}

double dot(const Reals& a, const Reals& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

/// The vectors b*_i, from the definition.
std::vector<Reals> stars(const Reals& basis, std::size_t n) {
  const std::size_t m = basis.size() / n;
  std::vector<Reals> result;
  for (std::size_t i = 0; i < n; ++i) {
    Reals star(basis.begin() + static_cast<std::ptrdiff_t>(i * m),
               basis.begin() + static_cast<std::ptrdiff_t>((i + 1) * m));
    for (const Reals& earlier : result) {
      const double mu = dot(star, earlier) / squared(earlier);
      for (std::size_t j = 0; j < m; ++j) star[j] -= mu * earlier[j];
    }
    result.push_back(star);
  }
  return result;
}

Reals random_reals(std::size_t size, double deviation, std::uint64_t seed) {
  RandomStream random(seed, size);
  Reals result(size);
  for (double& value : result) value = deviation * random.normal();
  return result;
}

TEST(NearestPlaneTest, EveryTargetIsWithinTheBox) {
  struct Shape {
    std::size_t n, m;
  };
  for (const auto& [n, m] : {Shape{1, 1}, Shape{3, 3}, Shape{5, 9}, Shape{24, 24}}) {
    const Reals basis = random_reals(n * m, 1, 1);
    const NearestPlane plane(basis, n);
    const std::vector<Reals> directions = stars(basis, n);
    double bound = 0;
    for (const Reals& star : directions) bound += squared(star) / 4;
    EXPECT_NEAR(plane.error_bound(), std::sqrt(bound), 1e-12 * std::sqrt(bound));

    constexpr std::size_t kCount = 3001;
    const Reals targets = random_reals(kCount * m, 20, 2);
    Codes codes(kCount * n);
    plane.decode(targets, codes);
    for (std::size_t k = 0; k < kCount; ++k) {
      const Reals error = error_of_code(&targets[k * m], &codes[k * n], basis, n);
      double along = 0;
      for (const Reals& star : directions) {
        // Rounding errors of numbers of some hundreds, in bases whose condition is below 10^4.
        EXPECT_LE(std::abs(dot(error, star)) / squared(star), 0.5 + 1e-9);
        along += dot(error, star) * dot(error, star) / squared(star);
      }
      EXPECT_LE(std::sqrt(along), plane.error_bound() * (1 + 1e-9));
    }
  }
}

TEST(NearestPlaneTest, CoefficientsAndPointsGiveTheSameCodes) {
  for (const std::size_t n : {1U, 2U, 7U, 33U}) {
    const Reals basis = covariance_factor(n, 1, 1);
    const NearestPlane plane(basis, n);
    constexpr std::size_t kCount = 101;
    const Reals coefficients = random_reals(kCount * n, 5, 3);
    Reals targets(kCount * n);
    for (std::size_t k = 0; k < kCount; ++k) {
      for (std::size_t i = 0; i < n; ++i) {
        for (std::size_t j = 0; j < n; ++j) {
          targets[k * n + j] += coefficients[k * n + i] * basis[i * n + j];
        }
      }
    }
    Codes from_points(kCount * n);
    Codes from_coefficients(kCount * n);
    plane.decode(targets, from_points);
    plane.decode_coefficients(coefficients, from_coefficients);
    EXPECT_EQ(from_points, from_coefficients);
  }
}

TEST(NearestPlaneTest, IsNoNearerThanTheNearestPoint) {
  constexpr std::size_t kN = 3;
  int nearest = 0;
  constexpr std::size_t kCount = 2000;
  const Reals basis = {4, 0, 0, 1, 3, 0, -1, 1, 3};  // reduced
  const NearestPlane plane(basis, kN);
  const Reals targets = random_reals(kCount * kN, 10, 4);
  Codes codes(kCount * kN);
  plane.decode(targets, codes);
  for (std::size_t k = 0; k < kCount; ++k) {
    const std::int64_t* const code = &codes[k * kN];
    const double found = squared(error_of_code(&targets[k * kN], code, basis, kN));
    double least = std::numeric_limits<double>::infinity();
    for (std::int64_t a = -4; a <= 4; ++a) {
      for (std::int64_t b = -4; b <= 4; ++b) {
        for (std::int64_t c = -4; c <= 4; ++c) {
          const Codes other = {code[0] + a, code[1] + b, code[2] + c};
          least =
              std::min(least, squared(error_of_code(&targets[k * kN], other.data(), basis, kN)));
        }
      }
    }
    EXPECT_LE(std::sqrt(least), plane.error_bound());
    if (found <= least) ++nearest;
  }
  // Babai misses some: that it is not exact is what its bound is for.
  EXPECT_GT(nearest, kCount * 3 / 4);
  EXPECT_LT(nearest, kCount);
}

TEST(NearestPlaneTest, IsExactInAnOrthogonalBasis) {
  const Reals basis = {0, 2, 0, 0, 0, 3};
  const NearestPlane plane(basis, 2);
  const Reals targets = {7, 2.9, 4.6, -1, 3.1, -4.4};
  Codes codes(4);
  plane.decode(targets, codes);
  EXPECT_EQ(codes, (Codes{1, 2, 2, -1}));
}

TEST(NearestPlaneTest, LatticePointsDecodeToThemselves) {
  const IntegerMatrix basis = random_basis(12, 15, 30, 5);
  Reals reals(basis.values().begin(), basis.values().end());
  const NearestPlane plane(reals, 12);
  const IntegerMatrix expected = random_basis(50, 12, 1000, 6);
  Reals targets(50 * 15);
  for (std::size_t k = 0; k < 50; ++k) {
    for (std::size_t i = 0; i < 12; ++i) {
      for (std::size_t j = 0; j < 15; ++j) {
        targets[k * 15 + j] += static_cast<double>(expected(k, i) * basis(i, j));
      }
    }
  }
  Codes codes(50 * 12);
  plane.decode(targets, codes);
  EXPECT_EQ(codes, Codes(expected.values().begin(), expected.values().end()));
}

// GPTQ as it is known: the last column is rounded, and what that leaves is spread over the others
// by the inverse of the rest of the covariance. In coefficients, over L.
TEST(NearestPlaneTest, WithoutReductionIsErrorFeedbackFromTheLastColumn) {
  constexpr std::size_t kN = 9;
  const Reals lower = covariance_factor(kN, 0.7, 7);
  const NearestPlane plane(lower, kN);
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    const Reals weights = random_reals(kN, 3, 100 + seed);
    Codes codes(kN);
    plane.decode_coefficients(weights, codes);
    Reals rest = weights;
    for (std::size_t i = kN; i-- > 0;) {
      const double rounded = std::nearbyint(rest[i]);
      EXPECT_EQ(codes[i], rounded);
      const double error = rest[i] - rounded;
      // The least of |error b_i + d L| over d on the earlier rows is at -error mu(i, j) in b*_j; as
      // coefficients of b_j that is a triangular system.
      Reals along(i);
      for (std::size_t j = i; j-- > 0;) {
        along[j] = error * lower[i * kN + j];
        for (std::size_t k = j + 1; k < i; ++k) along[j] -= along[k] * lower[k * kN + j];
        along[j] /= lower[j * kN + j];
      }
      for (std::size_t j = 0; j < i; ++j) rest[j] += along[j];
    }
  }
}

TEST(NearestPlaneTest, TargetsDoNotSeeTheirNeighbours) {
  constexpr std::size_t kN = 17;
  const NearestPlane plane(covariance_factor(kN, 1, 1), kN);
  const Reals targets = random_reals(21 * kN, 9, 8);
  Codes together(21 * kN);
  plane.decode(targets, together);
  for (std::size_t k = 0; k < 21; ++k) {
    Codes alone(kN);
    plane.decode(std::span(targets).subspan(k * kN, kN), alone);
    EXPECT_TRUE(std::equal(alone.begin(), alone.end(), &together[k * kN])) << k;
  }
}

TEST(NearestPlaneTest, IntegersAddToCoefficientsExactly) {
  constexpr std::size_t kN = 20;
  const NearestPlane plane(covariance_factor(kN, 1, 1), kN);
  Reals coefficients = random_reals(kN, 1, 9);
  // So that adding is exact in double.
  for (double& each : coefficients) each = std::nearbyint(each * 0x1p10) / 0x1p10;
  Codes before(kN);
  plane.decode_coefficients(coefficients, before);
  for (double& each : coefficients) each += 0x1p42;
  Codes after(kN);
  plane.decode_coefficients(coefficients, after);
  for (std::size_t i = 0; i < kN; ++i) EXPECT_EQ(after[i], before[i] + (std::int64_t{1} << 42));
}

TEST(NearestPlaneTest, ReductionTightensTheBoundAndTheError) {
  constexpr std::size_t kN = 48;
  constexpr std::size_t kCount = 2000;
  const Reals lower = covariance_factor(kN, 1, 1);
  const Certificate certificate = reduce_cholesky(lower, kN);
  const Reals reduced = multiply(certificate.transform, lower, kN);
  const NearestPlane plain(lower, kN);
  const NearestPlane better(reduced, kN);
  EXPECT_LT(better.error_bound(), 0.95 * plain.error_bound());

  const Reals targets = random_reals(kCount * kN, 100, 10);
  Codes codes(kCount * kN);
  const auto mean_error = [&](const NearestPlane& plane, const Reals& basis) {
    plane.decode(targets, codes);
    double sum = 0;
    for (std::size_t k = 0; k < kCount; ++k) {
      sum += squared(error_of_code(&targets[k * kN], &codes[k * kN], basis, kN));
    }
    return sum / kCount;
  };
  // Each of the kN terms has a deviation below its mean, so the mean of 2000 targets has one below
  // 1 / √2000 = 2.3 %.
  EXPECT_NEAR(mean_error(plain, lower) / plain.expected_squared_error(), 1, 0.1);
  EXPECT_NEAR(mean_error(better, reduced) / better.expected_squared_error(), 1, 0.1);
}

TEST(NearestPlaneTest, WhatItCannotDoIsAnError) {
  using support::error_of;
  const Reals square = {1, 0, 0, 1};
  const NearestPlane plane(square, 2);
  Codes codes(2);
  for (const double bad : {std::numeric_limits<double>::quiet_NaN(),
                           std::numeric_limits<double>::infinity(), 0x1p53}) {
    const Reals target = {0, bad};
    EXPECT_THAT(error_of([&] { plane.decode(target, codes); }), HasSubstr("target 0"));
    EXPECT_THAT(error_of([&] { plane.decode_coefficients(target, codes); }), HasSubstr("target 0"));
  }
  EXPECT_THAT(error_of([&] { plane.decode(Reals(3), codes); }), HasSubstr("3 numbers"));
  EXPECT_THAT(error_of([&] { plane.decode(Reals(4), codes); }), HasSubstr("4 numbers"));
  EXPECT_THAT(error_of([&] { NearestPlane(Reals{1, 2, 2, 4}, 2); }), HasSubstr("vector 1"));
  EXPECT_THAT(error_of([&] { NearestPlane(Reals{0, 0, 2, 4}, 2); }), HasSubstr("vector 0"));
  EXPECT_THAT(error_of([&] { NearestPlane(Reals{1, 2}, 2); }), HasSubstr("columns"));
  EXPECT_THAT(error_of([&] { NearestPlane(Reals{}, 0); }), HasSubstr("columns"));
  EXPECT_THAT(error_of([&] {
                NearestPlane(Reals{std::nan(""), 0, 2, 4}, 2);
              }),
              HasSubstr("not finite"));
}

}  // namespace
}  // namespace cllm::lattice
