#include "cllm/kernels/blas.h"

#include <cblas.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <cmath>
#include <ctime>
#include <limits>
#include <thread>

#include "cllm/base/error.h"
#include "cllm/base/processors.h"
#include "kernels/twins.h"

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
