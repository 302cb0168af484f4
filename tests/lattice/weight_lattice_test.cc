#include "cllm/lattice/weight_lattice.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "cllm/base/random.h"
#include "cllm/lattice/cholesky.h"
#include "cllm/lattice/coded_matrix.h"
#include "cllm/lattice/decoders.h"
#include "lattice/examples.h"
#include "support/error_of.h"

namespace cllm::lattice {
namespace {

using support::error_of;
using testing::HasSubstr;
using Floats = std::vector<float>;
using Integers = std::vector<std::int32_t>;
using Reals = std::vector<double>;
using enum Method;

constexpr Method kAll[] = {kRounding, kBabai, kReducedBabai, kE8};

/// L Lᵀ of a factor.
Reals covariance_of(const Reals& lower, std::size_t n) {
  Reals covariance(n * n);
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t j = 0; j < n; ++j) {
      for (std::size_t k = 0; k < n; ++k)
        covariance[i * n + j] += lower[i * n + k] * lower[j * n + k];
    }
  }
  return covariance;
}

Reals example_covariance(std::size_t n) { return covariance_of(covariance_factor(n, 0.7, n), n); }

Floats example_weights(std::size_t count, std::uint64_t seed = 1) {
  RandomStream random(seed, 0);
  Floats weights(count);
  for (float& weight : weights) weight = static_cast<float>(0.02 * random.normal());
  return weights;
}

/// The error that a method leaves, weights (rows, n), each coordinate counted alike.
double error_of_method(const Reals& covariance, const Reals& row_weights, const Floats& weights,
                       const WeightLattice::Options& options, double side) {
  const WeightLattice lattice(covariance, row_weights, options);
  const MatrixSteps steps = lattice.steps(side);
  Integers points(weights.size());
  lattice.quantize(weights, steps, 1, points);
  Floats errors(weights.size());
  steps.dequantize(points, lattice.kind(), errors);
  for (std::size_t i = 0; i < errors.size(); ++i) errors[i] -= weights[i];
  return lattice.energy(errors, 1);
}

/// The side of cells at which the step is this.
double side_of_step(const Reals& covariance, const Reals& row_weights,
                    const WeightLattice::Options& options, double step) {
  return step / static_cast<double>(WeightLattice(covariance, row_weights, options).steps(1).step);
}

TEST(Cholesky, IsAFactor) {
  const std::size_t n = 37;
  const Reals covariance = example_covariance(n);
  const Reals lower = cholesky(covariance, n, 0.25);
  const Reals product = covariance_of(lower, n);
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t j = 0; j < n; ++j) {
      EXPECT_TRUE(j <= i || lower[i * n + j] == 0);
      // Backward error: n times the unit roundoff, relative to the diagonal.
      EXPECT_NEAR(
          product[i * n + j], covariance[i * n + j] + (i == j ? 0.25 : 0),
          4 * static_cast<double>(n) * 0x1p-53 * (covariance[0] + covariance[i * n + i] + 1));
    }
  }
  const Reals indefinite = {1, 2, 2, 1};
  EXPECT_THAT(error_of([&] { cholesky(indefinite, 2); }), HasSubstr("not positive definite at 1"));
  EXPECT_NE(error_of([&] { cholesky(Reals{NAN}, 1); }), "");
}

TEST(WeightLattice, EveryMethodStaysNearTheWeights) {
  const std::size_t n = 150, rows = 20;  // blocks of 64, 64 and 22
  const Reals covariance = example_covariance(n), even(rows, 1.0);
  const Floats weights = example_weights(rows * n);
  for (const Method method : kAll) {
    for (const Spacing spacing : {Spacing::kEqual, Spacing::kShaped}) {
      const double side = 1e-4;
      const double error =
          error_of_method(covariance, even, weights, {.method = method, .spacing = spacing}, side);
      // Shaped cells are cubes of that side, of which rounding makes none: there, and with equal
      // steps, the sum is larger, by the spread of the spectrum.
      const double expected = side * side / 12 * static_cast<double>(rows * n);
      EXPECT_GT(error, 0.5 * expected) << name_of(method);
      EXPECT_LT(error, 20 * expected) << name_of(method);
    }
  }
}

TEST(WeightLattice, ShapedCellsHaveTheErrorOfACube) {
  const std::size_t n = 96, rows = 400;
  const Reals covariance = example_covariance(n);
  Reals row_weights;
  for (std::size_t r = 0; r < rows; ++r)
    row_weights.push_back(std::exp2(static_cast<double>(r % 9)));
  const Floats weights = example_weights(rows * n);
  const double side = 1e-3, cube = side * side / 12 * static_cast<double>(rows * n);
  const auto relative_error = [&](Method method) {
    return error_of_method(covariance, row_weights, weights, {.method = method, .damping = 1e-9},
                           side) /
           cube;
  };
  // 38400 uniform errors: the mean of their squares is within 1 % (3 deviations). Exponents round
  // sides by at most 2^(1/16) either way, which adds up to 0.2 %.
  EXPECT_NEAR(relative_error(kBabai), 1, 0.015);
  // Evening out lengths that are even already wins nothing.
  EXPECT_NEAR(relative_error(kReducedBabai), 1, 0.015);
  // E8's second moment is 0.0717 where the cube's is 1/12 (Conway and Sloane, table 2.3). In a
  // metric that is not round the cells differ from E8's, and the path through its planes is not
  // always the best: 0.88 here.
  EXPECT_LT(relative_error(kE8), 0.9);
  EXPECT_GT(relative_error(kE8), 0.0717 * 12 - 0.01);
}

TEST(WeightLattice, WithEqualStepsReductionHelpsAndBabaiBeatsRounding) {
  const std::size_t n = 64, rows = 200;
  const Reals covariance = example_covariance(n), even(rows, 1.0);
  const Floats weights = example_weights(rows * n);
  const auto error = [&](Method method) {
    const WeightLattice::Options options{.method = method, .spacing = Spacing::kEqual};
    return error_of_method(covariance, even, weights, options,
                           side_of_step(covariance, even, options, 1e-3));
  };
  EXPECT_LT(error(kBabai), 0.7 * error(kRounding));
  EXPECT_LT(error(kReducedBabai), error(kBabai));
  EXPECT_LT(error(kE8), error(kBabai));
}

/// In the metric of a unit matrix E8's decoder is exact, and so is the one for other metrics.
TEST(WeightLattice, E8IsTheNearestPointWhereTheMetricIsRound) {
  const std::size_t n = 24, rows = 500;
  Reals unit(n * n);
  for (std::size_t i = 0; i < n; ++i) unit[i * n + i] = 1;
  const Reals even(rows, 1.0);
  const Floats weights = example_weights(rows * n);
  const WeightLattice lattice(unit, even, {.method = kE8, .damping = 0});
  const MatrixSteps steps = lattice.steps(0.01);
  Integers points(weights.size()), nearest(weights.size());
  lattice.quantize(weights, steps, 1, points);
  Floats scaled;
  for (const float weight : weights) scaled.push_back(weight / steps.step);
  portable_decoders().e8(scaled.data(), nearest.data(), scaled.size() / kE8Dimension);
  std::size_t different = 0;
  for (std::size_t i = 0; i < points.size(); ++i) different += points[i] != nearest[i];
  // Rounded targets may lie between two points.
  EXPECT_LT(different, points.size() / 1000);
}

/// The best of all points around, by brute force.
double least_error(const Reals& lower, std::size_t n, const Reals& target) {
  double best = std::numeric_limits<double>::infinity();
  constexpr int kReach = 3;
  Reals error(n);
  std::vector<int> offset(n, -kReach);
  for (;;) {
    for (std::size_t i = 0; i < n; ++i) error[i] = target[i] - std::round(target[i]) - offset[i];
    double sum = 0;
    for (std::size_t j = 0; j < n; ++j) {
      double part = 0;
      for (std::size_t i = j; i < n; ++i) part += error[i] * lower[i * n + j];
      sum += part * part;
    }
    best = std::min(best, sum);
    std::size_t i = 0;
    while (i < n && ++offset[i] > kReach) offset[i++] = -kReach;
    if (i == n) return best;
  }
}

TEST(WeightLattice, NoMethodBeatsTheNearestPointAndBabaiKeepsItsBound) {
  const std::size_t n = 4;
  const Reals lower = covariance_factor(n, 0.7, 3), covariance = covariance_of(lower, n);
  double bound = 0;
  for (std::size_t i = 0; i < n; ++i) bound += lower[i * n + i] * lower[i * n + i] / 4;
  RandomStream random(4, 0);
  double of_rounding = 0, of_babai = 0, of_reduced = 0, of_best = 0;
  for (int round = 0; round < 60; ++round) {
    Floats weights;
    for (std::size_t i = 0; i < n; ++i)
      weights.push_back(static_cast<float>(20 * random.uniform()));
    const Reals one = {1.0};
    const auto error = [&](Method method) {
      const WeightLattice::Options options{
          .method = method, .spacing = Spacing::kEqual, .damping = 0};
      return error_of_method(covariance, one, weights, options,
                             side_of_step(covariance, one, options, 1));
    };
    const double best = least_error(lower, n, Reals(weights.begin(), weights.end()));
    // Energies are summed in float: relative to terms of the bound's size.
    const double slack = 1e-4 * bound;
    for (const Method method : {kRounding, kBabai, kReducedBabai}) {
      EXPECT_GE(error(method), best - slack) << name_of(method);
    }
    EXPECT_LE(error(kBabai), bound + slack);
    of_best += best;
    of_rounding += error(kRounding);
    of_babai += error(kBabai);
    of_reduced += error(kReducedBabai);
  }
  EXPECT_LT(of_babai, of_rounding);
  EXPECT_LT(of_reduced, of_babai);
  EXPECT_LT(of_reduced, 1.2 * of_best) << "in four dimensions a reduced basis is nearly best";
}

TEST(WeightLattice, ThreadsAndNeighboursChangeNothing) {
  const std::size_t n = 72, rows = 150;
  const Reals covariance = example_covariance(n);
  Reals row_weights;
  for (std::size_t r = 0; r < rows; ++r) row_weights.push_back(1 + static_cast<double>(r % 7));
  const Floats weights = example_weights(rows * n);
  for (const Method method : kAll) {
    const WeightLattice lattice(covariance, row_weights, {.method = method});
    const MatrixSteps steps = lattice.steps(1e-3);
    Integers one(weights.size()), three(weights.size());
    lattice.quantize(weights, steps, 1, one);
    lattice.quantize(weights, steps, 3, three);
    EXPECT_EQ(one, three) << name_of(method);
    EXPECT_EQ(lattice.energy(weights, 1), lattice.energy(weights, 3));
  }
}

TEST(WeightLattice, EveryBlockOfAReducedBasisHasItsCertificate) {
  const Reals covariance = example_covariance(100), one = {1.0};
  const WeightLattice lattice(covariance, one,
                              {.method = kReducedBabai, .spacing = Spacing::kEqual});
  ASSERT_EQ(lattice.certificates().size(), 2u);
  for (const Certificate& certificate : lattice.certificates()) {
    EXPECT_EQ(fault(certificate), std::nullopt);
  }
  EXPECT_NE(lattice.certificates()[0].transform, IntegerMatrix::identity(64));
  const WeightLattice babai(covariance, one, {.method = kBabai});
  EXPECT_TRUE(babai.certificates().empty());
}

TEST(WeightLattice, WhatHasNoLatticeIsRefused) {
  const Reals one = {1.0};
  EXPECT_NE(error_of([&] { WeightLattice(Reals{1, 2, 2, 1}, one, {}); }), "");
  const WeightLattice lattice(Reals{1}, one, {.method = kRounding});
  Integers point(1);
  EXPECT_THAT(error_of([&] { lattice.quantize(Floats{1}, lattice.steps(1e-12), 1, point); }),
              HasSubstr("too large"));
  EXPECT_THAT(error_of([&] { lattice.quantize(Floats{NAN}, lattice.steps(1), 1, point); }),
              HasSubstr("too large"));
}

TEST(CodedMatrix, PacksAndDecodes) {
  const std::size_t n = 40, rows = 30;
  const Floats weights = example_weights(rows * n);
  Reals row_weights(rows, 1.0);
  row_weights[3] = 1e-3;
  for (const Method method : kAll) {
    const WeightLattice lattice(example_covariance(n), row_weights, {.method = method});
    const CodedMatrix coded = code_matrix(lattice, weights, 1e-3, 1);
    const std::string bytes = coded.pack();
    const CodedMatrix again = CodedMatrix::unpack(bytes, rows, n);
    EXPECT_EQ(again.steps.step, coded.steps.step);
    EXPECT_EQ(again.steps.columns, coded.steps.columns);
    EXPECT_EQ(again.steps.rows, coded.steps.rows);
    EXPECT_EQ(again.coordinates, coded.coordinates);
    Floats decoded(weights.size()), errors(weights.size());
    again.decode(lattice.kind(), decoded);
    for (std::size_t i = 0; i < weights.size(); ++i) errors[i] = weights[i] - decoded[i];
    EXPECT_LT(lattice.energy(errors, 1), 0.5 * lattice.energy(weights, 1)) << name_of(method);

    for (std::size_t size = 0; size < bytes.size(); size += 1 + bytes.size() / 50) {
      EXPECT_NE(
          error_of([&] {
            CodedMatrix::unpack(bytes.substr(0, size), rows, n).decode(lattice.kind(), decoded);
          }),
          "");
    }
  }
}

TEST(CodedMatrix, ABadStepIsRefused) {
  for (const float step : {0.0f, -1.0f, NAN, INFINITY}) {
    const std::string bytes =
        CodedMatrix{.steps = {.step = step, .rows = {0}, .columns = {0}}, .coordinates = {}}.pack();
    EXPECT_THAT(error_of([&] { CodedMatrix::unpack(bytes, 1, 1); }), HasSubstr("step"));
  }
}

TEST(FindSide, MeetsTheRate) {
  const std::size_t n = 64, rows = 128;
  const Floats weights = example_weights(rows * n);
  const Reals covariance = example_covariance(n), even(rows, 1.0);
  for (const Method method : kAll) {
    const WeightLattice lattice(covariance, even, {.method = method});
    const auto rate = [&](double side) {
      return 8.0 * static_cast<double>(code_matrix(lattice, weights, side, 1).pack().size()) /
             static_cast<double>(weights.size());
    };
    for (const double bits : {2.0, 4.0, 8.0}) {
      const double found = rate(find_side(rate, bits));
      EXPECT_LE(found, bits);
      EXPECT_GE(found, 0.98 * bits) << name_of(method);
    }
  }
  EXPECT_THAT(error_of([] { find_side([](double) { return 5.0; }, 4); }), HasSubstr("4 bits"));
}

TEST(MatrixSteps, AreEighthsOfAnOctave) {
  const std::vector<std::uint8_t> exponents = {0, 1, 2, 3, 4, 5, 6, 7, 8, 20, 255};
  const Floats steps = MatrixSteps::relative(exponents);
  for (std::size_t i = 0; i < exponents.size(); ++i) {
    const double expected = std::exp2(-exponents[i] / 8.0);
    EXPECT_NEAR(steps[i], expected, 0x1p-23 * expected);
  }
}

}  // namespace
}  // namespace cllm::lattice
