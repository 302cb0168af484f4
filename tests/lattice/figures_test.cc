#include "cllm/lattice/figures.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "cllm/lattice/reduce.h"
#include "lattice/examples.h"
#include "support/error_of.h"

namespace cllm::lattice {
namespace {

/// Of a basis that is taken as it is.
Certificate unreduced(const IntegerMatrix& basis) {
  Certificate certificate;
  certificate.before = certificate.reduced = basis;
  certificate.transform = certificate.inverse = IntegerMatrix::identity(basis.rows());
  return certificate;
}

double squared_length(std::span<const std::int64_t> vector) {
  double sum = 0;
  for (const std::int64_t value : vector) sum += static_cast<double>(value * value);
  return sum;
}

/// The least squared length of combinations with coefficients in -range..range, but 0.
double exhaustive(const IntegerMatrix& basis, std::int64_t range) {
  const std::size_t n = basis.rows();
  std::vector<std::int64_t> coefficients(n, -range);
  double least = std::numeric_limits<double>::infinity();
  for (;;) {
    std::vector<std::int64_t> vector(basis.columns());
    for (std::size_t i = 0; i < n; ++i) {
      for (std::size_t j = 0; j < basis.columns(); ++j) vector[j] += coefficients[i] * basis(i, j);
    }
    if (const double length = squared_length(vector); length > 0) least = std::min(least, length);
    std::size_t at = 0;
    while (at < n && coefficients[at] == range) coefficients[at++] = -range;
    if (at == n) return least;
    ++coefficients[at];
  }
}

TEST(FiguresTest, OfTheIntegers) {
  for (const std::size_t n : {1U, 2U, 50U, 384U}) {
    IntegerMatrix basis(n, n);
    for (std::size_t i = 0; i < n; ++i) basis(i, i) = std::int64_t{1} << 40;
    const Figures found = figures(unreduced(basis), {.block_size = 0});
    // n logarithms of 40, each to some units of 2^-53.
    const double tolerance = 1e-12 * static_cast<double>(n);
    EXPECT_NEAR(found.log2_determinant, 40 * static_cast<double>(n), tolerance);
    EXPECT_NEAR(found.log2_defect_before, 0, tolerance);
    EXPECT_NEAR(found.log2_defect_after, 0, tolerance);
    EXPECT_EQ(found.shortest_found, 0x1p40);
    EXPECT_NEAR(found.shortest_least, 0x1p40, 0x1p40 * 1e-9);
  }
}

// Without enumeration: that a squared length is an integer is enough.
TEST(FiguresTest, SquaresAreIntegers) {
  const Figures found = figures(unreduced(IntegerMatrix::identity(300)), {.block_size = 0});
  EXPECT_TRUE(found.shortest_exact);
  EXPECT_EQ(found.shortest_least, 1);
  EXPECT_EQ(found.packing_radius(), 0.5);
}

// Nor is it needed where the first vector is shorter than all other b*, be it by a millionth.
TEST(FiguresTest, TheFirstVectorMayBeTheShortestStar) {
  IntegerMatrix basis(2, 2);
  basis(0, 0) = std::int64_t{1} << 40;
  basis(1, 1) = basis(0, 0) + (std::int64_t{1} << 20);
  const Effort none = {.block_size = 0, .nodes = 0};
  EXPECT_TRUE(figures(unreduced(basis), none).shortest_exact);
  // By less than the rounding errors that are allowed for.
  basis(1, 1) = basis(0, 0) + 1;
  EXPECT_FALSE(figures(unreduced(basis), none).shortest_exact);
}

TEST(FiguresTest, OfE8) {
  // Doubled. Its determinant is 2^8, its shortest vectors have length 2√2.
  const Certificate certificate = reduce(
      IntegerMatrix(8, 8, {4,  0, 0, 0, 0,  0, 0, 0, -2, 2,  0, 0, 0, 0,  0, 0, 0, -2, 2, 0, 0, 0,
                           0,  0, 0, 0, -2, 2, 0, 0, 0,  0,  0, 0, 0, -2, 2, 0, 0, 0,  0, 0, 0, 0,
                           -2, 2, 0, 0, 0,  0, 0, 0, 0,  -2, 2, 0, 1, 1,  1, 1, 1, 1,  1, 1}));
  const Figures found = figures(certificate);
  EXPECT_NEAR(found.log2_determinant, 8, 1e-12);
  EXPECT_TRUE(found.shortest_exact);
  EXPECT_NEAR(found.shortest_found, std::sqrt(8), 1e-15);
  EXPECT_NEAR(found.packing_radius(), std::sqrt(2), 1e-15);
  EXPECT_NEAR(found.log2_defect_after, 8 * 1.5 - 8, 1e-12);  // reduced, all vectors are shortest
}

TEST(FiguresTest, TheShortestVectorIsThatOfExhaustiveSearch) {
  for (std::uint64_t seed = 0; seed < 12; ++seed) {
    for (const std::size_t n : {1U, 2U, 3U, 4U, 5U}) {
      const Certificate certificate = reduce(random_basis(n, n + 1, 100, seed));
      const Figures found = figures(certificate);
      EXPECT_TRUE(found.shortest_exact);
      // The coefficients of a shortest vector in an LLL-reduced basis of so few vectors are small.
      EXPECT_NEAR(found.shortest_found, std::sqrt(exhaustive(certificate.reduced, 3)), 1e-9);
    }
  }
}

// Enumeration proves what block reduction only finds, and without it the interval holds the truth.
TEST(FiguresTest, WithoutEnumerationThereIsAnInterval) {
  const Certificate certificate = reduce(hard_basis(40, (std::int64_t{1} << 50) - 27, 2));
  const Figures exact = figures(certificate);
  ASSERT_TRUE(exact.shortest_exact);
  EXPECT_EQ(exact.shortest_least, exact.shortest_found);
  for (const int block_size : {0, 10}) {
    const Figures found = figures(certificate, {.block_size = block_size, .nodes = 1});
    EXPECT_FALSE(found.shortest_exact);
    EXPECT_LT(found.shortest_least, exact.shortest_found);
    EXPECT_GE(found.shortest_found, exact.shortest_found);
    EXPECT_LT(found.packing_radius(), exact.packing_radius());
  }
}

TEST(FiguresTest, ReductionLowersTheDefectOfASkewBasis) {
  const Certificate certificate = reduce_cholesky(covariance_factor(64, 2, 1), 64);
  const Figures found = figures(certificate, {.block_size = 0, .nodes = 0});
  EXPECT_LT(found.log2_defect_after, found.log2_defect_before / 2);
  EXPECT_GE(found.log2_defect_after, 0);
}

TEST(FiguresTest, TheProfileIsTheGramSchmidtProcess) {
  const std::vector<double> basis = {3, 4, 0, 1, 7, 8};
  const std::vector<double> profile = log2_profile(basis, 2);
  EXPECT_NEAR(profile[0], std::log2(5), 1e-14);
  // |(1, 7, 8)|^2 less the part along (3, 4, 0), which is 31/5.
  EXPECT_NEAR(profile[1], std::log2(114 - 961.0 / 25) / 2, 1e-14);
  EXPECT_THAT(support::error_of([] {
                log2_profile(std::vector{1.0, 2.0, 2.0, 4.0}, 2);
              }),
              ::testing::HasSubstr("vector 1"));
}

}  // namespace
}  // namespace cllm::lattice
