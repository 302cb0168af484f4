#include "cllm/lattice/reduce.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <future>
#include <vector>

#include "lattice/examples.h"
#include "support/error_of.h"

/// Reductions. That they are reductions is what the certificate's own test is about; here it is
/// that the reducer reaches one for every kind of basis, and says so where there is none.
namespace cllm::lattice {
namespace {

using support::error_of;
using ::testing::HasSubstr;

/// a b, in the test's own arithmetic.
IntegerMatrix product(const IntegerMatrix& a, const IntegerMatrix& b) {
  IntegerMatrix result(a.rows(), b.columns());
  for (std::size_t i = 0; i < a.rows(); ++i) {
    for (std::size_t j = 0; j < b.columns(); ++j) {
      for (std::size_t k = 0; k < a.columns(); ++k) result(i, j) += a(i, k) * b(k, j);
    }
  }
  return result;
}

IntegerMatrix transposed(const IntegerMatrix& a) {
  IntegerMatrix result(a.columns(), a.rows());
  for (std::size_t i = 0; i < a.rows(); ++i) {
    for (std::size_t j = 0; j < a.columns(); ++j) result(j, i) = a(i, j);
  }
  return result;
}

void expect_reduces(const IntegerMatrix& basis) {
  const Certificate certificate = reduce(basis);
  EXPECT_EQ(fault(certificate), std::nullopt);
  EXPECT_EQ(certificate.before, basis);
  EXPECT_EQ(product(certificate.inverse, certificate.reduced), basis);
  EXPECT_EQ(product(certificate.inverse, certificate.transform),
            IntegerMatrix::identity(basis.rows()));
  EXPECT_EQ(certificate.delta, 0.99);
}

TEST(ReduceTest, RandomBases) {
  for (const std::size_t n : {1U, 2U, 3U, 5U, 10U, 40U}) {
    for (const std::int64_t size : {3, 1000, 1 << 20}) {
      for (const std::size_t m : {n, n + 1, 2 * n + 3}) {
        // Of those with so few and small numbers, some are not independent.
        if (n == m && size == 3) continue;
        expect_reduces(random_basis(n, m, size, 1));
      }
    }
  }
}

// 50 bits: beyond what is tried with 64-bit integers.
TEST(ReduceTest, HardBases) {
  for (const std::size_t n : {2U, 8U, 40U}) {
    expect_reduces(hard_basis(n, (std::int64_t{1} << 50) - 27, 2));
  }
}

// 38 bits: within it, but double has to give up (or not).
TEST(ReduceTest, HardBasesInSmallIntegers) {
  for (const std::size_t n : {8U, 40U, 80U}) {
    expect_reduces(hard_basis(n, (std::int64_t{1} << 38) - 45, 2));
  }
}

TEST(ReduceTest, CovariancesOfEverySteepness) {
  for (const double steepness : {0.0, 1.0, 3.0}) {
    const std::vector<double> lower = covariance_factor(64, steepness, 1);
    const Certificate certificate = reduce_cholesky(lower, 64);
    EXPECT_EQ(fault(certificate), std::nullopt);
    EXPECT_EQ(bit_width(certificate.before), 20);
    EXPECT_EQ(certificate.before, quantize(lower, 64, 64, certificate.scale));
  }
}

TEST(ReduceTest, WhatIsReducedStaysAsItIs) {
  for (const IntegerMatrix& basis :
       {IntegerMatrix::identity(30), IntegerMatrix(2, 2, {100, 0, 50, 87})}) {
    const Certificate certificate = reduce(basis);
    EXPECT_EQ(certificate.reduced, basis);
    EXPECT_EQ(certificate.transform, IntegerMatrix::identity(basis.rows()));
  }
}

// Thread by thread, and beside each other.
TEST(ReduceTest, IsTheSameEveryTime) {
  const std::vector<double> lower = covariance_factor(40, 1, 3);
  const auto run = [&] { return reduce_cholesky(lower, 40); };
  const Certificate first = run();
  std::future<Certificate> others[] = {std::async(std::launch::async, run),
                                       std::async(std::launch::async, run)};
  for (auto& each : others) {
    const Certificate other = each.get();
    EXPECT_EQ(other.reduced, first.reduced);
    EXPECT_EQ(other.transform, first.transform);
    EXPECT_EQ(other.inverse, first.inverse);
  }
}

// |q L|^2 = q H qᵀ is kept by the change of basis.
TEST(ReduceTest, CodesStandForTheSamePoints) {
  constexpr std::size_t kN = 24;
  const std::vector<double> lower = covariance_factor(kN, 1, 4);
  const Certificate certificate = reduce_cholesky(lower, kN);
  const std::vector<double> reduced = multiply(certificate.transform, lower, kN);
  const IntegerMatrix code = random_basis(1, kN, 9, 5);
  const std::vector<double> point = multiply(code, reduced, kN);
  const std::vector<double> same = multiply(product(code, certificate.transform), lower, kN);
  for (std::size_t j = 0; j < kN; ++j)
    EXPECT_NEAR(point[j], same[j], 1e-9 * std::abs(point[j]) + 1e-9);
}

TEST(ReduceTest, WhatIsAboveTheDiagonalIsNotRead) {
  std::vector<double> lower = covariance_factor(5, 1, 4);
  const Certificate certificate = reduce_cholesky(lower, 5);
  lower[1] = 1e9;
  lower[3 * 5 + 4] = std::nan("");
  EXPECT_EQ(reduce_cholesky(lower, 5).before, certificate.before);
}

TEST(ReduceTest, RealBases) {
  const Certificate certificate = reduce(std::vector{1.0, 0.5, 0.25, 100.0, 0.0, -0.125}, 2, 16);
  EXPECT_EQ(fault(certificate), std::nullopt);
  EXPECT_EQ(certificate.scale, 0x1p9);
  EXPECT_EQ(certificate.before, IntegerMatrix(2, 3, {512, 256, 128, 51200, 0, -64}));
}

TEST(ReduceTest, WhatIsNoBasisIsAnError) {
  const auto error_with = [](const IntegerMatrix& basis) {
    return error_of([&] { reduce(basis); });
  };
  EXPECT_THAT(error_with(IntegerMatrix()), HasSubstr("0 vectors"));
  EXPECT_THAT(error_with(IntegerMatrix(3, 2)), HasSubstr("3 vectors"));
  EXPECT_THAT(error_with(IntegerMatrix(1, kMostVectors + 1)), HasSubstr("2048 columns"));
  EXPECT_THAT(error_with(IntegerMatrix(1, 1, {std::int64_t{1} << 56})), HasSubstr("57 bits"));
  EXPECT_THAT(error_with(IntegerMatrix(2, 2)), HasSubstr("independent"));
  EXPECT_THAT(error_with(IntegerMatrix(2, 3, {1, 2, 3, 2, 4, 6})), HasSubstr("independent"));
  EXPECT_THAT(error_with(IntegerMatrix(3, 3, {1, 2, 3, 4, 5, 6, 7, 8, 9})),
              HasSubstr("independent"));
  IntegerMatrix dependent = hard_basis(10, (std::int64_t{1} << 50) - 27, 2);
  std::ranges::copy(dependent.row(3), dependent.row(7).begin());
  EXPECT_THAT(error_with(dependent), HasSubstr("independent"));

  EXPECT_THAT(error_of([] { reduce(std::vector(5, 1.0), 2, 8); }), HasSubstr("5 numbers"));
  EXPECT_THAT(error_of([] { reduce(std::vector<double>{}, 0, 8); }), HasSubstr("0 numbers"));
  EXPECT_THAT(error_of([] { reduce_cholesky(std::vector(5, 1.0), 2); }), HasSubstr("5 numbers"));
  EXPECT_THAT(error_of([] {
                reduce_cholesky(std::vector{1.0, 0.0, 0.5, 1e-9}, 2);
              }),
              HasSubstr("place 1"));
  EXPECT_THAT(error_of([] {
                reduce_cholesky(std::vector{1.0, 0.0, 0.5, -1.0}, 2);
              }),
              HasSubstr("place 1"));
}

TEST(ReduceGramTest, IsTheReductionOfABasisWithTheseProducts) {
  for (const std::size_t n : {1U, 2U, 10U, 40U}) {
    const IntegerMatrix basis = random_basis(n, n + 2, 5000, 6);
    const IntegerMatrix gram = product(basis, transposed(basis));
    const GramReduction reduction = reduce_gram(gram);
    EXPECT_EQ(gram_fault(gram, reduction), std::nullopt);
    // In coordinates, too.
    Certificate certificate;
    certificate.before = basis;
    certificate.transform = reduction.transform;
    certificate.inverse = reduction.inverse;
    certificate.reduced = product(reduction.transform, basis);
    EXPECT_EQ(fault(certificate), std::nullopt);
    EXPECT_EQ(product(certificate.reduced, transposed(certificate.reduced)), reduction.gram);
  }
}

// Products of 50 bits and more in a basis far from reduced: double is not enough.
TEST(ReduceGramTest, TakesMoreDigitsWhereItMust) {
  const IntegerMatrix basis = hard_basis(30, (std::int64_t{1} << 25) - 39, 7);
  const IntegerMatrix gram = product(basis, transposed(basis));
  EXPECT_EQ(gram_fault(gram, reduce_gram(gram)), std::nullopt);
}

TEST(ReduceGramTest, WhatIsNoGramMatrixIsAnError) {
  const auto error_with = [](const IntegerMatrix& gram) {
    return error_of([&] { reduce_gram(gram); });
  };
  EXPECT_THAT(error_with(IntegerMatrix(2, 2, {2, 1, 0, 2})), HasSubstr("symmetric"));
  EXPECT_THAT(error_with(IntegerMatrix(2, 3)), HasSubstr("symmetric"));
  EXPECT_THAT(error_with(IntegerMatrix(2, 2, {1, 2, 2, 1})), HasSubstr("independent"));
  EXPECT_THAT(error_with(IntegerMatrix(2, 2, {1, 1, 1, 1})), HasSubstr("independent"));
  EXPECT_THAT(error_with(IntegerMatrix(2, 2, {-1, 0, 0, 1})), HasSubstr("independent"));
  EXPECT_THAT(error_with(IntegerMatrix()), HasSubstr("0 vectors"));
}

}  // namespace
}  // namespace cllm::lattice
