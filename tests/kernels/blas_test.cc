#include "cllm/kernels/blas.h"

#include <cblas.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <ctime>
#include <limits>
#include <thread>
#include <vector>

#include "cllm/base/error.h"
#include "cllm/base/processors.h"
#include "kernels/implementations.h"

namespace cllm::kernels {
namespace {

struct Product {
  Transpose transpose_a;
  Transpose transpose_b;
  std::size_t m;
  std::size_t n;
  std::size_t k;
  float alpha;
  float beta;
};

/// Rows and columns of an operand as stored.
struct Stored {
  std::size_t rows;
  std::size_t columns;
};

Stored stored(Transpose transpose, std::size_t rows, std::size_t columns) {
  return transpose == Transpose::kYes ? Stored{columns, rows} : Stored{rows, columns};
}

void check(const Product& product) {
  const auto& [transpose_a, transpose_b, m, n, k, alpha, beta] = product;
  const Stored a_shape = stored(transpose_a, m, k);
  const Stored b_shape = stored(transpose_b, k, n);
  const std::size_t lda = a_shape.columns + 3;
  const std::size_t ldb = b_shape.columns + 1;
  const std::size_t ldc = n + 2;
  const Array a = with_padding(normal_array(m * k, 1, 1), a_shape.rows, a_shape.columns, lda);
  const Array b = with_padding(normal_array(k * n, 1, 2), b_shape.rows, b_shape.columns, ldb);
  // With beta = 0, C must not be read, so it may be all NaN.
  const Array before = with_padding(
      beta == 0 ? Array(m * n, std::numeric_limits<float>::quiet_NaN()) : normal_array(m * n, 1, 3),
      m, n, ldc);
  Array c = before;
  sgemm(transpose_a, transpose_b, m, n, k, alpha, a.data(), lda, b.data(), ldb, beta, c.data(),
        ldc);
  for (std::size_t i = 0; i < m; ++i) {
    for (std::size_t j = 0; j < n; ++j) {
      double sum = 0;
      double magnitude = 0;
      for (std::size_t l = 0; l < k; ++l) {
        const double x = transpose_a == Transpose::kYes ? a[l * lda + i] : a[i * lda + l];
        const double y = transpose_b == Transpose::kYes ? b[j * ldb + l] : b[l * ldb + j];
        sum += x * y;
        magnitude += std::abs(x * y);
      }
      const double scale = static_cast<double>(alpha);
      const double kept =
          beta == 0 ? 0 : static_cast<double>(beta) * static_cast<double>(before[i * ldc + j]);
      // Higham, section 3.5: k products and additions, then alpha, beta and their sum.
      const double tolerance =
          kRoundoff * (static_cast<double>(k) + 4) * (std::abs(scale) * magnitude + std::abs(kept));
      ASSERT_NEAR(c[i * ldc + j], scale * sum + kept, tolerance)
          << m << "x" << n << "x" << k << " at " << i << ", " << j;
    }
    for (std::size_t j = n; j < ldc && i * ldc + j < c.size(); ++j) {
      ASSERT_TRUE(is_guard(c[i * ldc + j])) << "the padding of row " << i << " was written";
    }
  }
}

/// A symmetric matrix (n, n) whose eigenvalues lie apart or, where `twice`, in pairs.
std::vector<double> symmetric(std::size_t n, bool twice) {
  const Array random = normal_array(n * n, 1, n);
  std::vector<double> matrix(n * n);
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t j = 0; j < n; ++j) {
      matrix[i * n + j] =
          static_cast<double>(random[i * n + j]) + static_cast<double>(random[j * n + i]);
      if (twice) matrix[i * n + j] = i == j ? static_cast<double>(i / 2) : 0;
    }
  }
  return matrix;
}

TEST(BlasTest, SymmetricEigen) {
  prepare_blas(1);
  for (const std::size_t n : {0U, 1U, 2U, 3U, 31U, 32U, 60U, 130U}) {
    for (const bool twice : {false, true}) {
      const std::vector<double> a = symmetric(n, twice);
      std::vector<double> vectors = a;
      const std::vector<double> values = symmetric_eigen(vectors.data(), n);
      ASSERT_EQ(values.size(), n);
      EXPECT_TRUE(std::is_sorted(values.begin(), values.end()));
      // LAPACK Users' Guide, 4.7: errors are a small multiple of u ‖A‖, here of n u ‖A‖.
      double norm = 0;
      for (const double x : a) norm += x * x;
      const double tolerance = 10 * static_cast<double>(n) * 0x1p-53;
      const auto* v = vectors.data();
      for (std::size_t k = 0; k < n; ++k) {
        for (std::size_t i = 0; i < n; ++i) {
          double image = 0, inner = 0;
          for (std::size_t j = 0; j < n; ++j) {
            image += a[i * n + j] * v[k * n + j];
            inner += v[i * n + j] * v[k * n + j];
          }
          EXPECT_NEAR(image, values[k] * v[k * n + i], tolerance * std::sqrt(norm)) << n;
          EXPECT_NEAR(inner, i == k ? 1 : 0, tolerance) << n;
        }
      }
    }
  }
}

TEST(BlasTest, SymmetricEigenRefusesWhatIsNotFinite) {
  std::vector<double> matrix = {1, std::numeric_limits<double>::quiet_NaN(), 0, 1};
  EXPECT_THROW(symmetric_eigen(matrix.data(), 2), Error);
}

TEST(BlasTest, ProductsInDouble) {
  constexpr std::size_t kM = 3, kN = 4, kK = 5, kLd = 7;
  const Array random = normal_array(3 * kLd * kLd, 1, 1);
  const std::vector<double> a(random.begin(), random.begin() + kLd * kLd);
  const std::vector<double> b(random.begin() + kLd * kLd, random.begin() + 2 * kLd * kLd);
  const std::vector<double> before(random.begin() + 2 * kLd * kLd, random.end());
  for (const Transpose transpose_a : {Transpose::kNo, Transpose::kYes}) {
    for (const Transpose transpose_b : {Transpose::kNo, Transpose::kYes}) {
      std::vector<double> c = before;
      dgemm(transpose_a, transpose_b, kM, kN, kK, 2, a.data(), kLd, b.data(), kLd, 3, c.data(),
            kLd);
      for (std::size_t i = 0; i < kLd; ++i) {
        for (std::size_t j = 0; j < kLd; ++j) {
          double expected = before[i * kLd + j];
          if (i < kM && j < kN) {
            expected *= 3;
            for (std::size_t k = 0; k < kK; ++k) {
              expected += 2 * (transpose_a == Transpose::kYes ? a[k * kLd + i] : a[i * kLd + k]) *
                          (transpose_b == Transpose::kYes ? b[j * kLd + k] : b[k * kLd + j]);
            }
          }
          EXPECT_NEAR(c[i * kLd + j], expected, 0x1p-46);  // a dozen roundings of numbers below 2^4
        }
      }
    }
  }
}

TEST(BlasTest, MatchesTheDefinition) {
  constexpr std::array<std::size_t, 3> kSizes[] = {
      {1, 1, 1}, {3, 5, 7}, {64, 48, 32}, {33, 17, 129}};
  prepare_blas(1);
  for (const Transpose a : {Transpose::kNo, Transpose::kYes}) {
    for (const Transpose b : {Transpose::kNo, Transpose::kYes}) {
      for (const auto& [m, n, k] : kSizes) {
        check({a, b, m, n, k, 1, 0});
        check({a, b, m, n, k, 1, 1});
        check({a, b, m, n, k, -0.5f, 0.25f});
      }
    }
  }
}

/// Every remainder of a kernel's tiles in each dimension, and for each a few of the others.
TEST(BlasTest, MatchesTheDefinitionInOddShapes) {
  constexpr std::size_t kMost = 70;
  prepare_blas(1);
  for (std::size_t i = 0; i < 4 * kMost; ++i) {
    const std::size_t m = i % kMost + 1;
    const std::size_t n = (i * 29 + 11 * (i / kMost)) % kMost + 1;
    const std::size_t k = (i * 43 + 31 * (i / kMost)) % kMost + 1;
    for (const Transpose a : {Transpose::kNo, Transpose::kYes}) {
      for (const Transpose b : {Transpose::kNo, Transpose::kYes}) {
        check({a, b, m, n, k, 1, 0});
        check({a, b, m, n, k, 1, 1});
        check({a, b, m, n, k, 0.125f, 0});
        check({a, b, m, n, k, -3, 0.5f});
      }
    }
  }
}

/// Longer than the blocks that a product is divided into.
TEST(BlasTest, MatchesTheDefinitionInLongShapes) {
  constexpr std::array<std::size_t, 3> kSizes[] = {
      {1, 1, 3000}, {35, 17, 1999}, {1501, 13, 37}, {9, 3001, 20}, {257, 193, 769}};
  prepare_blas(1);
  for (const auto& [m, n, k] : kSizes) {
    for (const Transpose a : {Transpose::kNo, Transpose::kYes}) {
      for (const Transpose b : {Transpose::kNo, Transpose::kYes}) {
        check({a, b, m, n, k, 1, 0});
        check({a, b, m, n, k, 0.5f, 1});
      }
    }
  }
}

TEST(BlasTest, BetaZeroDoesNotReadC) {
  prepare_blas(1);
  const float a = 2;
  const float b = 3;
  float c = std::numeric_limits<float>::quiet_NaN();
  sgemm(Transpose::kNo, Transpose::kNo, 1, 1, 1, 1, &a, 1, &b, 1, 0, &c, 1);
  EXPECT_EQ(c, 6);
}

TEST(BlasTest, RefusesASizeThatBlasCannotCount) {
  const std::size_t huge = std::size_t{1} << 31;
  float x = 0;
  EXPECT_THAT([&] { sgemm(Transpose::kNo, Transpose::kNo, huge, 1, 1, 1, &x, 1, &x, 1, 0, &x, 1); },
              ::testing::ThrowsMessage<Error>(::testing::HasSubstr("2147483648")));
}

double seconds(clockid_t clock) {
  timespec time{};
  clock_gettime(clock, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

/// The processor time that threads other than the caller spend on a product, as a share of all.
double share_of_other_threads() {
  constexpr std::size_t kSize = 768;
  const Array a = normal_array(kSize * kSize, 1, 1);
  Array c(kSize * kSize);
  const auto multiply = [&] {
    sgemm(Transpose::kNo, Transpose::kNo, kSize, kSize, kSize, 1, a.data(), kSize, a.data(), kSize,
          0, c.data(), kSize);
  };
  multiply();
  const double all = seconds(CLOCK_PROCESS_CPUTIME_ID);
  const double mine = seconds(CLOCK_THREAD_CPUTIME_ID);
  for (int i = 0; i < 8; ++i) {
    multiply();
  }
  const double all_spent = seconds(CLOCK_PROCESS_CPUTIME_ID) - all;
  return 1 - (seconds(CLOCK_THREAD_CPUTIME_ID) - mine) / all_spent;
}

TEST(BlasTest, PreparedBlasKeepsToItsCaller) {
  if (available_processors().size() > 1) {
    // What is to be prevented, so that the measurement is known to see it.
    openblas_set_num_threads(2);
    EXPECT_GT(share_of_other_threads(), 0.2);
  }
  prepare_blas(1);
  EXPECT_EQ(openblas_get_num_threads(), 1);
  // Workers of the call before may spin for a moment; a share of 0.5 would be a second thread.
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  EXPECT_LT(share_of_other_threads(), 0.05);
}

TEST(BlasTest, RefusesMoreCallersThanBuffers) {
  EXPECT_NO_THROW(prepare_blas(64));
  EXPECT_THAT([] { prepare_blas(65); },
              ::testing::ThrowsMessage<Error>(::testing::HasSubstr("--threads 65")));
}

TEST(BlasTest, DescribesItself) {
  EXPECT_THAT(blas_description(), ::testing::HasSubstr("OpenBLAS"));
  EXPECT_THAT(blas_description(), ::testing::HasSubstr(openblas_get_corename()));
}

}  // namespace
}  // namespace cllm::kernels
