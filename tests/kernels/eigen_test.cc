#include "cllm/kernels/eigen.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <utility>
#include <vector>

#include "cllm/base/error.h"
#include "cllm/kernels/blas.h"
#include "kernels/implementations.h"

namespace cllm::kernels {
namespace {

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

/// Every way to decompose a matrix: LAPACK's, and ours by each of the kernels.
using Decompose = std::function<std::vector<double>(std::vector<double>&, std::size_t)>;

std::vector<Decompose> ways() {
  prepare_blas(1);
  std::vector<Decompose> result = {
      [](std::vector<double>& a, std::size_t n) { return lapack_symmetric_eigen(a.data(), n); }};
  for (const Kernels* kernels : runnable_kernels()) {
    result.emplace_back([=](std::vector<double>& a, std::size_t n) {
      ThreadPool pool(2);
      return symmetric_eigen(*kernels, pool, a, n);
    });
  }
  return result;
}

void expect_decomposes(const Decompose& decompose) {
  for (const std::size_t n : {0U, 1U, 2U, 3U, 31U, 32U, 60U, 130U}) {
    for (const bool twice : {false, true}) {
      const std::vector<double> a = symmetric(n, twice);
      std::vector<double> vectors = a;
      const std::vector<double> values = decompose(vectors, n);
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

TEST(EigenTest, VectorsAndValuesAreThoseOfTheMatrix) {
  for (const Decompose& decompose : ways()) expect_decomposes(decompose);
}

TEST(EigenTest, WhatIsNotFiniteIsRefused) {
  for (const Decompose& decompose : ways()) {
    std::vector<double> matrix = {1, std::numeric_limits<double>::quiet_NaN(), 0, 1};
    EXPECT_THROW(decompose(matrix, 2), Error);
  }
}

TEST(EigenTest, BitsDependOnNeitherThreadsNorProcessor) {
  for (const std::size_t n : {1U, 7U, 64U, 131U}) {
    std::vector<double> expected = symmetric(n, false);
    ThreadPool alone(1);
    const std::vector<double> values =
        symmetric_eigen(*runnable_kernels().front(), alone, expected, n);
    for (const Kernels* kernels : runnable_kernels()) {
      if (!kernels->has_fixed_order) continue;
      for (const int threads : {1, 3}) {
        std::vector<double> vectors = symmetric(n, false);
        ThreadPool pool(threads);
        EXPECT_EQ(symmetric_eigen(*kernels, pool, vectors, n), values) << kernels->name;
        EXPECT_EQ(vectors, expected) << kernels->name;
      }
    }
  }
}

/// Of huge and tiny elements, none of which may overflow or vanish when it is squared.
TEST(EigenTest, ScalesDoNotMatter) {
  const Kernels& kernels = *runnable_kernels().front();
  ThreadPool pool(1);
  std::vector<double> vectors = symmetric(20, false);
  const std::vector<double> values = symmetric_eigen(kernels, pool, vectors, 20);
  for (const int exponent : {-900, 900}) {
    std::vector<double> scaled = symmetric(20, false);
    for (double& x : scaled) x = std::ldexp(x, exponent);
    const std::vector<double> found = symmetric_eigen(kernels, pool, scaled, 20);
    EXPECT_EQ(scaled, vectors);
    for (std::size_t i = 0; i < 20; ++i) EXPECT_EQ(found[i], std::ldexp(values[i], exponent));
  }
}

/// Eigenvalues that are 0, or the same many times: a matrix that falls apart.
TEST(EigenTest, OfLowRankAndOfTheUnitMatrix) {
  ThreadPool pool(1);
  for (const bool unit : {false, true}) {
    std::vector<double> a(30 * 30);
    for (std::size_t i = 0; i < 30; ++i) {
      for (std::size_t j = 0; j < 30; ++j) a[i * 30 + j] = unit ? (i == j ? 1 : 0) : 1;
    }
    const std::vector<double> values = symmetric_eigen(*runnable_kernels().front(), pool, a, 30);
    EXPECT_NEAR(values[28], unit ? 1 : 0, 1e-13);
    EXPECT_NEAR(values[29], unit ? 1 : 30, 1e-13);
  }
}

/// Every element is its chain of fused multiply-adds, row by row.
TEST(EigenTest, GramMatricesAreTheirChains) {
  constexpr std::size_t kLd = 41, kRows = 19;
  const Array random = normal_array(2 * kRows * kLd, 1, 3);
  const std::vector<double> left(random.begin(), random.begin() + kRows * kLd);
  const std::vector<double> right(random.begin() + kRows * kLd, random.end());
  for (const Kernels* kernels : runnable_kernels()) {
    for (const auto& [height, width] : {std::pair{1U, 1U}, {5U, 8U}, {4U, 17U}, {41U, 41U}}) {
      std::vector<double> c(41 * kLd, 0.5), expected = c;
      for (std::size_t i = 0; i < height; ++i) {
        for (std::size_t j = 0; j < width; ++j) {
          for (std::size_t row = 0; row < kRows; ++row) {
            double& sum = expected[i * kLd + j];
            sum = std::fma(left[row * kLd + i], right[row * kLd + j], sum);
          }
        }
      }
      kernels->add_gram(left.data(), right.data(), kLd, kRows, height, width, c.data(), kLd);
      EXPECT_EQ(c, expected) << kernels->name;
    }
  }
}

}  // namespace
}  // namespace cllm::kernels
