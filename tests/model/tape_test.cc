// Each operation of the tape against the complex step of the same operation on plain matrices.
#include "support/tape.h"

#include <gtest/gtest.h>

#include <cmath>
#include <complex>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "cllm/base/random.h"

namespace cllm {
namespace {

using support::Block;
using support::Matrix;
using support::Taped;

using Complex = std::complex<double>;

Matrix<double> random_matrix(std::size_t rows, std::size_t columns, std::uint64_t stream) {
  RandomStream random(7, stream);
  Matrix<double> matrix(rows, columns);
  for (double& value : matrix.values) value = random.normal();
  return matrix;
}

Matrix<Complex> complex_of(const Matrix<double>& real) {
  Matrix<Complex> result(real.rows, real.columns);
  result.values.assign(real.values.begin(), real.values.end());
  return result;
}

/// A number that depends on every element of y, each in its own way: l·y·r.
template <typename M>
M weighed(const M& y, const M& left, const M& right) {
  return product(product(left, y), right);
}

/// How far the tape's gradients of an operation's arguments are from those of the complex step, at
/// most. `operation` takes a vector of matrices of either kind.
template <typename Operation>
double distance(const std::vector<Matrix<double>>& arguments, const Operation& operation) {
  support::Tape<double> tape;
  std::vector<Taped<double>> taped;
  for (const Matrix<double>& argument : arguments) taped.push_back(tape.leaf(argument));
  const Taped<double> y = operation(taped);
  const Matrix<double> left = random_matrix(1, y.value().rows, 100);
  const Matrix<double> right = random_matrix(y.value().columns, 1, 101);
  tape.sweep(weighed(y, tape.leaf(left), tape.leaf(right)));

  std::vector<Matrix<Complex>> moved;
  for (const Matrix<double>& argument : arguments) moved.push_back(complex_of(argument));
  double worst = 0;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const Matrix<double> gradient = tape.gradient(taped[i]);
    for (std::size_t j = 0; j < gradient.values.size(); ++j) {
      constexpr double kStep = 1e-30;
      moved[i].values[j] += Complex(0, kStep);
      const Complex result =
          weighed(operation(moved), complex_of(left), complex_of(right)).values[0];
      moved[i].values[j] = arguments[i].values[j];
      worst = std::max(worst, std::abs(std::imag(result) / kStep - gradient.values[j]));
    }
  }
  return worst;
}

/// Some tens of numbers of about unit size are added: each rounding is 10⁻¹⁶ of that.
constexpr double kTolerance = 1e-13;

const std::vector<Matrix<double>> kOne = {random_matrix(5, 6, 1)};
const std::vector<Matrix<double>> kAlike = {random_matrix(5, 6, 1), random_matrix(5, 6, 2)};
const std::vector<Matrix<double>> kWithRow = {random_matrix(5, 6, 1), random_matrix(6, 1, 3)};
const std::vector<Matrix<double>> kChained = {random_matrix(5, 6, 1), random_matrix(6, 3, 4)};
const std::vector<Matrix<double>> kSquare = {random_matrix(5, 5, 5)};

TEST(Tape, LinearOperationsHaveTheGradientsOfTheComplexStep) {
  EXPECT_LT(distance(kChained, [](const auto& x) { return product(x[0], x[1]); }), kTolerance);
  EXPECT_LT(distance(kAlike, [](const auto& x) { return product_transposed(x[0], x[1]); }),
            kTolerance);
  EXPECT_LT(distance(kAlike, [](const auto& x) { return sum(x[0], x[1]); }), kTolerance);
  EXPECT_LT(distance(kAlike, [](const auto& x) { return times(x[0], x[1]); }), kTolerance);
  EXPECT_LT(distance(kOne, [](const auto& x) { return scaled(x[0], -1.7); }), kTolerance);
  EXPECT_LT(distance(kWithRow, [](const auto& x) { return plus_row(x[0], x[1]); }), kTolerance);
  EXPECT_LT(distance(kWithRow, [](const auto& x) { return times_row(x[0], x[1]); }), kTolerance);
  const std::vector<std::size_t> rows = {3, 0, 3, 3, 1};
  EXPECT_LT(distance(kOne, [&](const auto& x) { return rows_of(x[0], rows); }), kTolerance);
  const Block block{1, 3, 2, 4};
  EXPECT_LT(distance(kOne, [&](const auto& x) { return block_of(x[0], block); }), kTolerance);
  EXPECT_LT(distance(kAlike,
                     [](const auto& x) {
                       std::vector<std::pair<Block, std::decay_t<decltype(x[0])>>> blocks;
                       blocks.emplace_back(Block{0, 5, 0, 6}, x[1]);
                       blocks.emplace_back(Block{5, 5, 6, 6}, x[0]);
                       return assembled(blocks, 10, 12);
                     }),
            kTolerance);
  EXPECT_LT(distance(kOne, [](const auto& x) { return centred(x[0]); }), kTolerance);
  EXPECT_LT(distance(kOne, [](const auto& x) { return rotated(x[0], 100, 1); }), kTolerance);
}

TEST(Tape, OtherFunctionsHaveTheGradientsOfTheComplexStep) {
  EXPECT_LT(distance(kOne, [](const auto& x) { return tanh_of(x[0]); }), kTolerance);
  EXPECT_LT(distance(kOne, [](const auto& x) { return logistic(x[0]); }), kTolerance);
  EXPECT_LT(distance(kOne, [](const auto& x) { return positive_part(x[0]); }), kTolerance);
  EXPECT_LT(distance(kOne, [](const auto& x) { return rms_normalised(x[0], 0.1); }), kTolerance);
  EXPECT_LT(distance(kSquare, [](const auto& x) { return causal_softmax(x[0]); }), kTolerance);
  const std::vector<std::uint32_t> targets = {5, 0, 2, 2, 3};
  EXPECT_LT(distance(kOne,
                     [&](const auto& x) {
                       return cross_entropy(x[0], std::span<const std::uint32_t>(targets));
                     }),
            kTolerance);
}

TEST(Tape, GradientsOfAnArgumentThatIsUsedTwiceAddUp) {
  EXPECT_LT(distance(kSquare, [](const auto& x) { return product(x[0], tanh_of(x[0])); }),
            kTolerance);
}

/// What doesn't lead to the result has no gradient.
TEST(Tape, ABranchThatGoesNowhereHasNoGradient) {
  support::Tape<double> tape;
  const Taped<double> a = tape.leaf(random_matrix(1, 1, 1)), b = tape.leaf(random_matrix(1, 1, 2));
  scaled(b, 2);
  tape.sweep(scaled(a, 3));
  EXPECT_EQ(tape.gradient(a).values, std::vector{3.0});
  EXPECT_EQ(tape.gradient(b).values, std::vector{0.0});
}

Matrix<Complex> tripled(const Matrix<Complex>& x) { return scaled(x, 3); }
/// Whose way back is wrong by a millionth.
Taped<double> tripled(const Taped<double>& x) {
  return x.tape->record(scaled(x.value(), 3),
                        [x](const Matrix<double>& d) { x.add(scaled(d, 3.000003)); });
}

TEST(Tape, AWrongGradientIsNoticed) {
  EXPECT_GT(distance(kOne, [](const auto& x) { return tripled(x[0]); }), 1e6 * kTolerance);
}

}  // namespace
}  // namespace cllm
