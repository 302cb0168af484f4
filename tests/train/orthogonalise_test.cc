#include "cllm/train/orthogonalise.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <utility>
#include <vector>

#include "cllm/base/error.h"
#include "cllm/base/random.h"
#include "cllm/kernels/blas.h"
#include "support/reference_muon.h"
#include "support/tolerance.h"

namespace cllm::train {
namespace {

using support::reference_orthogonal;
using support::ReferenceMatrix;
using support::ReferenceQuintic;
using Sharing = Orthogonaliser::Sharing;
using Shape = std::pair<std::size_t, std::size_t>;

/// Tiles and their ends, on both sides of a tile's length, both ways up; the least of all.
const std::vector<Shape> kShapes = {{1, 1},     {1, 40},    {40, 1},   {16, 16},
                                    {17, 33},   {33, 17},   {96, 100}, {192, 192},
                                    {193, 230}, {230, 193}, {200, 784}};

std::vector<float> random_values(std::size_t count, std::uint64_t seed) {
  RandomStream random(seed, 0);
  std::vector<float> values(count);
  for (float& value : values) value = static_cast<float>(random.normal());
  return values;
}

/// All of the matrices, orthogonalised in one call.
std::vector<std::vector<float>> orthogonal(std::vector<std::vector<float>> values,
                                           const std::vector<Shape>& shapes, int threads,
                                           const Orthogonaliser::Options& options = {}) {
  std::vector<MatrixView> views;
  for (std::size_t i = 0; i < shapes.size(); ++i) {
    views.push_back({values[i].data(), shapes[i].first, shapes[i].second});
  }
  ThreadPool pool(threads);
  Orthogonaliser orthogonaliser({views}, options, kernels::select_kernels(), pool);
  orthogonaliser.run(0);
  return values;
}

std::vector<float> orthogonal(const std::vector<float>& values, Shape shape,
                              const Orthogonaliser::Options& options = {}) {
  return orthogonal(std::vector<std::vector<float>>{values}, {shape}, 2, options)[0];
}

std::vector<ReferenceQuintic> quintics(Iteration iteration, int count) {
  if (iteration == Iteration::kNewtonSchulz) {
    return std::vector<ReferenceQuintic>(static_cast<std::size_t>(count));
  }
  std::vector<ReferenceQuintic> all = {
      {8.156554524902461, -22.48329292557795, 15.878769915207462},
      {4.042929935166739, -2.808917465908714, 0.5000178451051316},
      {3.8916678022926607, -2.772484153217685, 0.5060648178503393},
      {3.285753657755655, -2.3681294933425376, 0.46449024233003106},
      {2.3465413258596377, -1.7097828382687081, 0.42323551169305323}};
  all.resize(static_cast<std::size_t>(count), all.back());
  return all;
}

double norm_of(const std::vector<double>& values) {
  double squares = 0;
  for (const double value : values) squares += value * value;
  return std::sqrt(squares);
}

ReferenceMatrix exact(const std::vector<float>& values, Shape shape) {
  ReferenceMatrix matrix(shape.first, shape.second);
  std::ranges::copy(values, matrix.values.begin());
  return matrix;
}

double distance(const std::vector<float>& values, const ReferenceMatrix& reference) {
  std::vector<double> difference(values.begin(), values.end());
  for (std::size_t i = 0; i < difference.size(); ++i) difference[i] -= reference.values[i];
  return norm_of(difference) / norm_of(reference.values);
}

/// Moves each element by a random number of `size` times the matrix' root mean square.
void move(ReferenceMatrix& matrix, double size, RandomStream& random) {
  const double each =
      size * norm_of(matrix.values) / std::sqrt(static_cast<double>(matrix.values.size()));
  for (double& value : matrix.values) value += each * random.normal();
}

/// As Note [Tolerance of gradients] has it: the sums of an iteration, of lengths n, m and m, round
/// with relative errors of u√length that are independent of each other. What comes of them is
/// measured in double: after each iteration X is moved at random, by as much as its three terms are
/// larger than what is left of them (|a| + |b| + |c|), and κ is the most that the result moved, in
/// relation. (The first polynomials lift small singular values, and errors with them.) 2 is for the
/// tail.
double tolerance_of(const ReferenceMatrix& matrix, const std::vector<ReferenceQuintic>& polynomials,
                    double safety) {
  constexpr double kMovement = 1e-8;
  const ReferenceMatrix result = reference_orthogonal(matrix, polynomials, safety);
  double condition = 1;
  const std::uint64_t draws =
      matrix.values.size() > 20'000 ? 1 : 3;  // where there are many numbers
  for (std::uint64_t draw = 0; draw < draws; ++draw) {
    RandomStream random(11, draw);
    ReferenceMatrix start = matrix;
    move(start, kMovement, random);
    ReferenceMatrix moved = reference_orthogonal(
        start, polynomials, safety, [&](ReferenceMatrix& x, const ReferenceQuintic& q) {
          move(x, kMovement * (std::abs(q.a) + std::abs(q.b) + std::abs(q.c)), random);
        });
    for (std::size_t i = 0; i < moved.values.size(); ++i) moved.values[i] -= result.values[i];
    condition = std::max(condition, norm_of(moved.values) / norm_of(result.values) / kMovement);
  }
  const std::size_t m = std::min(matrix.rows, matrix.columns);
  const std::size_t n = std::max(matrix.rows, matrix.columns);
  return 2 * condition * support::kFloatRoundoff * std::sqrt(static_cast<double>(n + 2 * m));
}

TEST(Orthogonalise, DoesWhatTheMathematicsSay) {
  for (const Iteration iteration : {Iteration::kNewtonSchulz, Iteration::kPolarExpress}) {
    const double safety = iteration == Iteration::kPolarExpress ? 1.02 : 1;
    for (const Shape& shape : kShapes) {
      for (const int iterations : {1, 4, 5, 7}) {
        if (iterations != 5 && shape.first * shape.second > 20'000) continue;  // it takes long
        const std::vector<float> values =
            random_values(shape.first * shape.second, shape.first + 7 * shape.second);
        const auto polynomials = quintics(iteration, iterations);
        const ReferenceMatrix matrix = exact(values, shape);
        const double error =
            distance(orthogonal(values, shape, {.iteration = iteration, .iterations = iterations}),
                     reference_orthogonal(matrix, polynomials, safety));
        EXPECT_LE(error, tolerance_of(matrix, polynomials, safety))
            << shape.first << " x " << shape.second << ", " << iterations << " iterations";
      }
    }
  }
}

TEST(Orthogonalise, TheToleranceTellsAWrongCoefficient) {
  const Shape shape{96, 100};
  const std::vector<float> values = random_values(96 * 100, 1);
  const ReferenceMatrix matrix = exact(values, shape);
  const std::vector<float> result = orthogonal(values, shape);
  const std::vector<ReferenceQuintic> right(5);
  const auto is_off = [&](const std::vector<ReferenceQuintic>& other) {
    return distance(result, reference_orthogonal(matrix, other)) > tolerance_of(matrix, right, 1);
  };
  EXPECT_FALSE(is_off(right));
  EXPECT_TRUE(is_off(std::vector<ReferenceQuintic>(4)));
  EXPECT_TRUE(is_off(std::vector<ReferenceQuintic>(5, {3.445, -4.7750, 2.0315})));
  EXPECT_TRUE(is_off(std::vector<ReferenceQuintic>(5, {3.4445, -4.776, 2.0315})));
  EXPECT_TRUE(is_off(std::vector<ReferenceQuintic>(5, {3.4445, -4.7750, 2.032})));
}

/// The singular values of a matrix, ascending.
std::vector<double> singular_values(const std::vector<float>& values, Shape shape) {
  const std::vector<double> a(values.begin(), values.end());
  const auto [rows, columns] = shape;
  std::vector<double> gram(rows * rows);
  kernels::dgemm(kernels::Transpose::kNo, kernels::Transpose::kYes, rows, rows, columns, 1.0,
                 a.data(), columns, a.data(), columns, 0.0, gram.data(), rows);
  std::vector<double> result = kernels::lapack_symmetric_eigen(gram.data(), rows);
  for (double& value : result) value = std::sqrt(std::max(value, 0.0));
  return result;
}

/// The range of a x + b x³ + c x⁵, five times, over x from `first` to 1.
std::pair<double, double> range_of(Iteration iteration, double first) {
  std::pair<double, double> range{10, 0};
  for (double x = first; x <= 1; x *= 1.001) {
    double y = iteration == Iteration::kPolarExpress ? x / 1.02 : x;
    for (const ReferenceQuintic& q : quintics(iteration, 5)) {
      y = q.a * y + q.b * std::pow(y, 3) + q.c * std::pow(y, 5);
    }
    range = {std::min(range.first, y), std::max(range.second, y)};
  }
  return range;
}

// What the documents say of the polynomials; and singular values of matrices are where numbers are,
// but for float's rounding. Those of a wide random matrix are all well above 0.002 of its norm.
TEST(Orthogonalise, SingularValuesEndNearOne) {
  const auto [muon_least, muon_most] = range_of(Iteration::kNewtonSchulz, 0.002);
  EXPECT_GT(muon_least, 0.68);
  EXPECT_LT(muon_most, 1.21);
  const auto [polar_least, polar_most] = range_of(Iteration::kPolarExpress, 0.001);
  EXPECT_GT(polar_least, 0.84);
  EXPECT_LT(polar_most, 1.15);
  const Shape shape{128, 512};
  const std::vector<float> values = random_values(128 * 512, 3);
  const std::vector<double> before = singular_values(values, shape);
  EXPECT_GT(before.back() / before.front(), 2);
  for (const Iteration iteration : {Iteration::kNewtonSchulz, Iteration::kPolarExpress}) {
    const auto [least, most] = range_of(iteration, 0.002);
    const std::vector<double> after =
        singular_values(orthogonal(values, shape, {.iteration = iteration}), shape);
    EXPECT_GT(after.front(), least - 1e-4);
    EXPECT_LT(after.back(), most + 1e-4);
  }
}

/// Of a matrix whose singular values fall as 1 / k^power: a Hadamard matrix' rows and a sine
/// transform's are the singular vectors.
std::vector<float> with_falling_values(std::size_t m, std::size_t n, double power) {
  std::vector<double> sum(m * n);
  for (std::size_t k = 0; k < m; ++k) {
    const double value = std::pow(static_cast<double>(k + 1), -power);
    for (std::size_t i = 0; i < m; ++i) {
      const double left = std::popcount(i & k) % 2 == 0 ? value : -value;
      for (std::size_t j = 0; j < n; ++j) {
        sum[i * n + j] += left * std::sin(M_PI * static_cast<double>((j + 1) * (k + 1)) /
                                          static_cast<double>(n + 1));
      }
    }
  }
  return {sum.begin(), sum.end()};
}

// Where X is left alone, singular values whose squares float can't tell from 0 are rounded roughly.
TEST(Orthogonalise, SmallSingularValuesAreRoundedByLessThanThePolynomialsLeave) {
  const Shape wide{64, 256};
  for (const Iteration iteration : {Iteration::kNewtonSchulz, Iteration::kPolarExpress}) {
    const double safety = iteration == Iteration::kPolarExpress ? 1.02 : 1;
    for (const double power : {1.0, 2.0, 4.0}) {
      const std::vector<float> values = with_falling_values(wide.first, wide.second, power);
      const std::vector<float> result = orthogonal(values, wide, {.iteration = iteration});
      const ReferenceMatrix reference =
          reference_orthogonal(exact(values, wide), quintics(iteration, 5), safety);
      EXPECT_LE(distance(result, reference), 5e-3) << power;
      EXPECT_LT(singular_values(result, wide).back(), range_of(iteration, 0.002).second + 1e-2);
    }
  }
}

TEST(Orthogonalise, CountsTheProductsThatItHas) {
  EXPECT_DOUBLE_EQ(Orthogonaliser::flops(100, 100), 5 * (3 + 1) * 1e6);
  EXPECT_DOUBLE_EQ(Orthogonaliser::flops(100, 400), (3 * 4 + 17) * 1e6);
  EXPECT_DOUBLE_EQ(Orthogonaliser::flops(400, 100), (3 * 4 + 17) * 1e6);
  EXPECT_DOUBLE_EQ(Orthogonaliser::flops(100, 400, 1), (3 * 4 + 1) * 1e6);
}

TEST(Orthogonalise, NeitherSizeNorTurningChangesTheResult) {
  const Shape wide{40, 300}, tall{300, 40};
  const std::vector<float> values = random_values(40 * 300, 5);
  const std::vector<float> result = orthogonal(values, wide);
  std::vector<float> larger = values;
  for (float& value : larger) value *= 1000;
  const std::vector<float> result_larger = orthogonal(larger, wide);
  std::vector<float> turned(values.size());
  for (std::size_t i = 0; i < 40; ++i) {
    for (std::size_t j = 0; j < 300; ++j) turned[j * 40 + i] = values[i * 300 + j];
  }
  const std::vector<float> result_turned = orthogonal(turned, tall);
  // Floats' last bits are others, and the factor's may be: an error of u that the polynomials lift
  // by up to 3.4445⁵ = 485.
  double largest = 0, error = 0;
  for (std::size_t i = 0; i < 40; ++i) {
    for (std::size_t j = 0; j < 300; ++j) {
      const double value = result[i * 300 + j];
      largest = std::max(largest, std::abs(value));
      for (const float other : {result_turned[j * 40 + i], result_larger[i * 300 + j]}) {
        error = std::max(error, std::abs(value - double{other}));
      }
    }
  }
  EXPECT_LE(error, largest * 485 * 0x1p-23);
}

TEST(Orthogonalise, ZerosStayZeros) {
  for (const Shape& shape : {Shape{64, 64}, Shape{300, 20}}) {
    const std::vector<float> zeros(shape.first * shape.second);
    EXPECT_EQ(orthogonal(zeros, shape), zeros);
    // And what is next to nothing gives no NaN.
    for (const float value : orthogonal(std::vector<float>(zeros.size(), 1e-30f), shape)) {
      EXPECT_TRUE(std::isfinite(value));
    }
  }
}

TEST(Orthogonalise, GivesTheSameBitsHoweverItIsShared) {
  std::vector<std::vector<float>> values;
  for (const Shape& shape : kShapes) {
    values.push_back(random_values(shape.first * shape.second, values.size()));
  }
  const auto alone = orthogonal(values, kShapes, 1, {.sharing = Sharing::kWhole});
  for (const int threads : {1, 2, 3, 4}) {
    for (const Sharing sharing : {Sharing::kAuto, Sharing::kWhole, Sharing::kTiles}) {
      EXPECT_EQ(orthogonal(values, kShapes, threads, {.sharing = sharing}), alone) << threads;
    }
  }
  // Nor does it matter what else is in the call.
  for (std::size_t i = 0; i < kShapes.size(); ++i) {
    EXPECT_EQ(orthogonal(values[i], kShapes[i]), alone[i]);
  }
}

TEST(Orthogonalise, RefusesIterationsThatItWasNotMadeFor) {
  EXPECT_THROW(orthogonal({1.0f}, {1, 1}, {.iterations = 0}), Error);
  EXPECT_THROW(orthogonal({1.0f}, {1, 1}, {.iterations = 11}), Error);
}

}  // namespace
}  // namespace cllm::train
