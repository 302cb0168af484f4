#include "cllm/lattice/certificates/certificate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "cllm/lattice/reduce.h"
#include "lattice/examples.h"
#include "support/error_of.h"

/// The verifier: what holds passes, what is spoiled in any way is refused, and for the reason
/// meant.
namespace cllm::lattice {
namespace {

using ::testing::HasSubstr;

constexpr std::int64_t kOne = 1;

std::string fault_of(const Certificate& certificate) { return fault(certificate).value_or(""); }

/// R = before, with nothing done.
Certificate as_it_is(const IntegerMatrix& basis) {
  Certificate certificate;
  certificate.before = certificate.reduced = basis;
  certificate.transform = certificate.inverse = IntegerMatrix::identity(basis.rows());
  return certificate;
}

/// A reduction of 8 vectors with entries in all four matrices.
Certificate example() { return reduce(random_basis(8, 9, 50, 1)); }

/// vector i += factor * vector j, told everywhere, so that only the reduction is spoiled.
void add_vector(Certificate& c, std::size_t i, std::size_t j, std::int64_t factor) {
  for (IntegerMatrix* each : {&c.reduced, &c.transform}) {
    for (std::size_t k = 0; k < each->columns(); ++k) (*each)(i, k) += factor * (*each)(j, k);
  }
  for (std::size_t k = 0; k < c.inverse.rows(); ++k) c.inverse(k, j) -= factor * c.inverse(k, i);
}

/// Vectors i and j change places, everywhere.
void swap_vectors(Certificate& c, std::size_t i, std::size_t j) {
  for (IntegerMatrix* each : {&c.reduced, &c.transform}) {
    std::ranges::swap_ranges(each->row(i), each->row(j));
  }
  for (std::size_t k = 0; k < c.inverse.rows(); ++k) std::swap(c.inverse(k, i), c.inverse(k, j));
}

// --- What holds ----------------------------------------------------------------------------------

TEST(CertificateTest, ReductionsHold) {
  EXPECT_EQ(fault_of(example()), "");
  for (const std::size_t n : {1U, 2U, 17U}) {
    EXPECT_EQ(fault_of(reduce(random_basis(n, n + 1, 1000, 2))), "");
    EXPECT_EQ(fault_of(as_it_is(IntegerMatrix::identity(n))), "");
  }
  EXPECT_EQ(fault_of(reduce_cholesky(covariance_factor(100, 1, 1), 100)), "");
}

// The size of the embedding's basis. Reducing takes most of the time.
TEST(CertificateTest, LargeReductionsHold) {
  EXPECT_EQ(fault_of(reduce_cholesky(covariance_factor(200, 0.5, 1), 200)), "");
}

TEST(CertificateTest, TheLargestIntegersHold) {
  const std::int64_t most = (kOne << kMostBits) - 1;
  for (const std::size_t m : {std::size_t{2}, kMostVectors}) {
    IntegerMatrix basis(2, m);
    for (std::size_t j = 0; j < m; ++j) {
      basis(0, j) = most;
      basis(1, j) = j < m / 2 ? most : -most;
    }
    EXPECT_EQ(fault_of(as_it_is(basis)), "") << m;
    basis(1, 0) = most + 1;
    EXPECT_THAT(fault_of(as_it_is(basis)), HasSubstr("57 bits")) << m;
  }
}

// --- What is spoiled -----------------------------------------------------------------------------

TEST(CertificateTest, ATransformOfDeterminantTwoIsRefused) {
  Certificate certificate = example();
  for (std::size_t k = 0; k < 8; ++k) certificate.transform(3, k) *= 2;
  for (std::size_t k = 0; k < 9; ++k) certificate.reduced(3, k) *= 2;
  EXPECT_THAT(fault_of(certificate), HasSubstr("determinant is not 1 or -1"));
}

TEST(CertificateTest, ASingularTransformIsRefused) {
  Certificate certificate = example();
  std::ranges::copy(certificate.transform.row(2), certificate.transform.row(5).begin());
  std::ranges::copy(certificate.reduced.row(2), certificate.reduced.row(5).begin());
  EXPECT_THAT(fault_of(certificate), HasSubstr("determinant is not 1 or -1"));
}

TEST(CertificateTest, AWrongInverseIsRefused) {
  Certificate certificate = example();
  std::swap(certificate.inverse, certificate.transform);
  EXPECT_NE(fault_of(certificate), "");
  certificate = example();
  certificate.inverse = IntegerMatrix::identity(8);
  EXPECT_THAT(fault_of(certificate), HasSubstr("not the identity"));
}

TEST(CertificateTest, OneRowOperationIsNotSizeReduced) {
  for (const std::int64_t factor : {1, -1, 5}) {
    for (std::size_t i = 1; i < 8; ++i) {
      Certificate certificate = example();
      // The last vector's own coefficients may be small: what was mu is now mu + factor.
      add_vector(certificate, i, i - 1, factor);
      // By one, mu may come from -0.51 to 0.49: then Lovász' condition still holds.
      if (factor == 5) {
        EXPECT_THAT(fault_of(certificate), HasSubstr("not size-reduced")) << i;
        EXPECT_THAT(fault_of(certificate), HasSubstr(fmt::format("|mu({}, ", i)));
      } else {
        EXPECT_THAT(fault_of(certificate), HasSubstr("not size-reduced")) << i;
      }
    }
  }
}

TEST(CertificateTest, SwappedRowsBreakLovasz) {
  IntegerMatrix basis(5, 5);
  for (std::size_t i = 0; i < 5; ++i) basis(i, i) = 10 + static_cast<std::int64_t>(i);
  Certificate certificate = reduce(basis);
  ASSERT_EQ(fault_of(certificate), "");
  swap_vectors(certificate, 2, 3);
  EXPECT_THAT(fault_of(certificate), HasSubstr("Lovász' condition fails at index 3"));
  EXPECT_THAT(fault_of(certificate), HasSubstr("is below delta = 0.99"));
}

TEST(CertificateTest, AnotherLatticeIsRefused) {
  Certificate certificate = example();
  // Reduced itself, but of the lattice of another basis.
  certificate.before = random_basis(8, 9, 50, 2);
  EXPECT_THAT(fault_of(certificate), HasSubstr("another lattice"));
  // A lattice of twice the volume, with a reduced basis.
  certificate = as_it_is(IntegerMatrix(2, 2, {2, 0, 0, 2}));
  certificate.reduced(1, 1) = 4;
  EXPECT_THAT(fault_of(certificate), HasSubstr("another lattice"));
}

TEST(CertificateTest, NoEntryCanBeChanged) {
  const Certificate good = example();
  const std::pair<IntegerMatrix Certificate::*, const char*> matrices[] = {
      {&Certificate::before, "before"},
      {&Certificate::transform, "transform"},
      {&Certificate::inverse, "inverse"},
      {&Certificate::reduced, "reduced"}};
  for (const auto& [member, name] : matrices) {
    const IntegerMatrix& matrix = good.*member;
    for (std::size_t i = 0; i < matrix.rows(); ++i) {
      for (std::size_t j = 0; j < matrix.columns(); ++j) {
        for (const int bit : {0, 1, 7, 31, 32, 55, 62, 63}) {
          Certificate bad = good;
          (bad.*member)(i, j) = static_cast<std::int64_t>(static_cast<std::uint64_t>(matrix(i, j)) ^
                                                          (std::uint64_t{1} << bit));
          ASSERT_NE(fault_of(bad), "") << name << " " << i << " " << j << " bit " << bit;
        }
      }
    }
  }
}

TEST(CertificateTest, WrongShapesAreRefused) {
  const Certificate good = example();
  EXPECT_THAT(fault_of(Certificate{}), HasSubstr("0 vectors"));
  Certificate bad = good;
  bad.before = IntegerMatrix(9, 8);
  EXPECT_THAT(fault_of(bad), HasSubstr("9 vectors"));
  bad = good;
  bad.before = IntegerMatrix(8, kMostVectors + 1);
  EXPECT_THAT(fault_of(bad), HasSubstr("2049 columns"));
  bad = good;
  bad.transform = IntegerMatrix(8, 9);
  EXPECT_THAT(fault_of(bad), HasSubstr("transform has the shape 8×9 instead of 8×8"));
  bad = good;
  bad.inverse = IntegerMatrix(7, 8);
  EXPECT_THAT(fault_of(bad), HasSubstr("inverse transform has the shape 7×8"));
  bad = good;
  bad.reduced = IntegerMatrix();
  EXPECT_THAT(fault_of(bad), HasSubstr("reduced basis has the shape 0×0"));
}

TEST(CertificateTest, NumbersOutOfRangeAreRefused) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (const double delta : {0.98, 1.01, -1.0, nan}) {
    Certificate bad = example();
    bad.delta = delta;
    EXPECT_THAT(fault_of(bad), HasSubstr("delta"));
  }
  for (const double eta : {0.49, 0.52, nan}) {
    Certificate bad = example();
    bad.eta = eta;
    EXPECT_THAT(fault_of(bad), HasSubstr("eta"));
  }
  for (const double scale : {0.0, -1.0, std::numeric_limits<double>::infinity(), nan}) {
    Certificate bad = example();
    bad.scale = scale;
    EXPECT_THAT(fault_of(bad), HasSubstr("scale"));
  }
}

// All of these hold modulo 2^64.
TEST(CertificateTest, OverflowDoesNotFoolIt) {
  // (1 + 2^33) (1 - 2^33) = 1 - 2^66.
  Certificate bad = as_it_is(IntegerMatrix::identity(2));
  bad.transform(0, 0) = bad.reduced(0, 0) = 1 + (kOne << 33);
  bad.inverse(0, 0) = 1 - (kOne << 33);
  EXPECT_NE(fault_of(bad), "");
  // 2^40 2^30 = 2^70, so the product seems to be the transform itself.
  bad = as_it_is(IntegerMatrix(2, 2, {1, 0, kOne << 30, 1}));
  bad.transform(0, 1) = kOne << 40;
  bad.inverse(0, 1) = -(kOne << 40);
  bad.reduced = IntegerMatrix(2, 2, {1, kOne << 40, kOne << 30, 1});
  EXPECT_THAT(fault_of(bad), HasSubstr("another lattice"));
  // |(2^32, 0)|^2 = 2^64, and the second vector is orthogonal to the first, so to say.
  bad = as_it_is(IntegerMatrix(2, 2, {kOne << 32, 1, kOne << 32, 2}));
  EXPECT_THAT(fault_of(bad), HasSubstr("not size-reduced"));
  // The least integer has no size in 64 bits.
  bad = as_it_is(IntegerMatrix(1, 1, {std::numeric_limits<std::int64_t>::min()}));
  EXPECT_THAT(fault_of(bad), HasSubstr("64 bits"));
}

TEST(CertificateTest, DependentVectorsAreRefused) {
  EXPECT_THAT(fault_of(as_it_is(IntegerMatrix(2, 2))), HasSubstr("vector 0 of the reduced basis"));
  EXPECT_THAT(fault_of(as_it_is(IntegerMatrix(2, 2, {1, 0, 0, 0}))), HasSubstr("vector 1"));
  EXPECT_NE(fault_of(as_it_is(IntegerMatrix(2, 2, {1, 2, 1, 2}))), "");
  EXPECT_NE(fault_of(as_it_is(IntegerMatrix(3, 3, {1, 2, 3, 4, 5, 6, 7, 8, 9}))), "");
}

TEST(CertificateTest, CheckNamesWhereItComesFrom) {
  Certificate certificate = example();
  check(certificate, "a.h5");
  certificate.scale = 0;
  EXPECT_THAT(support::error_of([&] { check(certificate, "a.h5"); }),
              ::testing::StartsWith("a.h5: "));
}

// --- Gram matrices -------------------------------------------------------------------------------

TEST(GramFaultTest, NoEntryCanBeChanged) {
  const IntegerMatrix gram(3, 3, {50, 7, -30, 7, 9, 11, -30, 11, 80});
  const GramReduction good = reduce_gram(gram);
  ASSERT_EQ(gram_fault(gram, good), std::nullopt);
  for (std::size_t i = 0; i < 3; ++i) {
    for (std::size_t j = 0; j < 3; ++j) {
      GramReduction bad = good;
      ++bad.transform(i, j);
      EXPECT_NE(gram_fault(gram, bad), std::nullopt);
      bad = good;
      ++bad.inverse(i, j);
      EXPECT_NE(gram_fault(gram, bad), std::nullopt);
      bad = good;
      ++bad.gram(i, j);
      EXPECT_NE(gram_fault(gram, bad), std::nullopt);
      if (i != j) ++bad.gram(j, i);
      EXPECT_NE(gram_fault(gram, bad), std::nullopt);
      IntegerMatrix other = gram;
      ++other(i, j);
      EXPECT_NE(gram_fault(other, good), std::nullopt);
    }
  }
}

TEST(GramFaultTest, SaysWhatIsWrong) {
  const auto fault_with = [](const IntegerMatrix& gram) {
    const IntegerMatrix one = IntegerMatrix::identity(gram.rows());
    return gram_fault(gram, {.gram = gram, .transform = one, .inverse = one}).value_or("");
  };
  EXPECT_EQ(fault_with(IntegerMatrix(2, 2, {4, 1, 1, 4})), "");
  EXPECT_THAT(fault_with(IntegerMatrix(2, 2, {4, 3, 3, 4})), HasSubstr("not size-reduced"));
  EXPECT_THAT(fault_with(IntegerMatrix(2, 2, {4, 1, 1, 3})), HasSubstr("Lovász"));
  EXPECT_THAT(fault_with(IntegerMatrix(2, 2, {4, 1, 2, 4})), HasSubstr("not symmetric"));
  EXPECT_THAT(fault_with(IntegerMatrix(2, 2, {1, 5, 5, 1})), HasSubstr("independent"));
  EXPECT_THAT(fault_with(IntegerMatrix(1, 1, {0})), HasSubstr("is 0"));
  EXPECT_THAT(fault_with(IntegerMatrix(1, 1, {-4})), HasSubstr("is 0"));
}

// --- How sharp it is -----------------------------------------------------------------------------

/// Whether the basis of up to 4 small vectors is reduced, in exact integers: the Gram-Schmidt
/// process without fractions (Cohen, "A Course in Computational Algebraic Number Theory", §2.6.3),
/// where d(i) is the determinant of the first i products, and lambda(i, j) = d(j+1) mu(i, j).
bool is_factorised(const IntegerMatrix& basis) {
  const std::size_t n = basis.rows();
  std::vector<__int128> d = {1};
  std::vector<std::vector<__int128>> lambda(n, std::vector<__int128>(n));
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t j = 0; j <= i; ++j) {
      __int128 value = 0;
      for (std::size_t k = 0; k < basis.columns(); ++k) value += basis(i, k) * basis(j, k);
      for (std::size_t k = 0; k < j; ++k) {
        value = (d[k + 1] * value - lambda[i][k] * lambda[j][k]) / d[k];
      }
      lambda[i][j] = value;
    }
    if (lambda[i][i] <= 0) return false;
    d.push_back(lambda[i][i]);
  }
  for (std::size_t i = 1; i < n; ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      const __int128 size = lambda[i][j] < 0 ? -lambda[i][j] : lambda[i][j];
      if (100 * size > 51 * d[j + 1]) return false;
    }
    const __int128 mixed = lambda[i][i - 1];
    if (100 * (d[i + 1] * d[i - 1] + mixed * mixed) < 99 * d[i] * d[i]) return false;
  }
  return true;
}

TEST(CertificateTest, DecidesAsExactArithmetic) {
  int reduced = 0;
  int refused = 0;
  for (std::uint64_t seed = 0; seed < 3000; ++seed) {
    const std::size_t n = 2 + seed % 3;
    // Near reduced, and over and under it.
    IntegerMatrix basis = random_basis(n, n, 7, seed);
    for (std::size_t i = 0; i < n; ++i) basis(i, i) += 15;
    const bool expected = is_factorised(basis);
    ++(expected ? reduced : refused);
    const std::string found = fault_of(as_it_is(basis));
    EXPECT_EQ(found.empty(), expected) << found;
    EXPECT_THAT(found, ::testing::Not(HasSubstr("proved")));
  }
  EXPECT_GT(reduced, 300);
  EXPECT_GT(refused, 300);
}

// Two vectors with mu a breath off 0.51, nearer than double can tell; 0.51
// as a double is 8.9e-18 above the decimal.
TEST(CertificateTest, DecidesWhatIsClose) {
  const auto fault_at = [](std::int64_t size, std::int64_t off) {
    return fault_of(as_it_is(IntegerMatrix(2, 2, {size, 0, size / 100 * 51 + off, size})));
  };
  for (const std::int64_t size :
       {std::int64_t{10'000'000'000'000}, std::int64_t{10'000'000'000'000'000}}) {
    EXPECT_EQ(fault_at(size, -1), "");
    EXPECT_THAT(fault_at(size, 1), HasSubstr("is above eta"));
    EXPECT_EQ(fault_at(size, 0), "");
  }
  // Exactly at the limit, nothing is proved, and that is said.
  Certificate certificate = as_it_is(IntegerMatrix(2, 2, {2, 0, 1, 2}));
  EXPECT_EQ(fault_of(certificate), "");
  certificate.eta = 0.5;
  EXPECT_THAT(fault_of(certificate), HasSubstr("can't be proved not to be above eta"));
}

/// The steepest that a reduced basis can be, or nearly: |b*_i| falls by 0.88 a step, and all mu are
/// 1/2 or -1/2, so that the inverse's elements grow as 1.5^n.
IntegerMatrix steep_basis(std::size_t n) {
  RandomStream random(1, n);
  IntegerMatrix basis(n, n);
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t j = 0; j <= i; ++j) {
      const double star = 0x1p45 * std::pow(0.88, static_cast<double>(j));
      const double mu = i == j ? 1 : random.below(2) == 0 ? 0.5 : -0.5;
      basis(i, j) = std::llround(star * mu);
    }
  }
  return basis;
}

// Such as no reduction of real data comes near: double can't prove it.
TEST(CertificateTest, SteepBasesHold) {
  for (const std::size_t n : {40U, 80U}) {
    Certificate certificate = as_it_is(steep_basis(n));
    EXPECT_EQ(fault_of(certificate), "") << n;
    add_vector(certificate, n - 1, n - 2, 1);
    EXPECT_THAT(fault_of(certificate), HasSubstr("is above eta")) << n;
  }
}

// A triangular basis shows its mu: they are quotients of its integers. Computed from its products
// in double they are off by far more than the last integer before the limit.
TEST(CertificateTest, RoundingErrorsDoNotFoolIt) {
  constexpr std::size_t kN = 40;
  const IntegerMatrix basis = steep_basis(kN);
  for (std::size_t j = kN - 12; j < kN - 1; ++j) {
    const std::int64_t limit = basis(j, j) * 51 / 100;
    for (const std::int64_t sign : {1, -1}) {
      Certificate certificate = as_it_is(basis);
      certificate.before(kN - 1, j) = certificate.reduced(kN - 1, j) = sign * limit;
      EXPECT_EQ(fault_of(certificate), "") << j;
      certificate.before(kN - 1, j) = certificate.reduced(kN - 1, j) = sign * (limit + 1);
      EXPECT_THAT(fault_of(certificate),
                  HasSubstr(fmt::format("|mu({}, {})| = 0.51 is above eta", kN - 1, j)));
    }
  }
}

// There is an end to it; then a basis that is reduced is refused, never the other way round.
TEST(CertificateTest, WhatCannotBeProvedIsRefused) {
  EXPECT_THAT(fault_of(as_it_is(steep_basis(150))), HasSubstr("can't be proved"));
}

}  // namespace
}  // namespace cllm::lattice
