#pragma once

#include "cllm/kernels/kernels.h"
#include "vector.h"

/// Rows of doubles. Every element is one chain of operations, whatever stands beside it.
namespace cllm::kernels {
namespace {

void add_scaled(double factor, const double* x, double* y, std::size_t n) {
  const Doubles::Value factors = Doubles::broadcast(factor);
  std::size_t i = 0;
  for (; i + Doubles::kCount <= n; i += Doubles::kCount) {
    Doubles::store(y + i, Doubles::fma(factors, Doubles::load(x + i), Doubles::load(y + i)));
  }
  for (; i < n; ++i) y[i] = __builtin_fma(factor, x[i], y[i]);
}

void turn_rows(double cosine, double sine, double* x, double* y, std::size_t n) {
  const Doubles::Value c = Doubles::broadcast(cosine), s = Doubles::broadcast(sine),
                       minus_s = Doubles::broadcast(-sine);
  std::size_t i = 0;
  for (; i + Doubles::kCount <= n; i += Doubles::kCount) {
    const Doubles::Value a = Doubles::load(x + i), b = Doubles::load(y + i);
    Doubles::store(x + i, Doubles::fma(minus_s, b, Doubles::multiply(c, a)));
    Doubles::store(y + i, Doubles::fma(s, a, Doubles::multiply(c, b)));
  }
  for (; i < n; ++i) {
    const double a = x[i], b = y[i];
    x[i] = __builtin_fma(-sine, b, cosine * a);
    y[i] = __builtin_fma(sine, a, cosine * b);
  }
}

/// c (kHeight, two registers) += leftᵀ · right, its sums in registers.
template <std::size_t kHeight>
void add_gram_tile(const double* left, const double* right, std::size_t ld, std::size_t rows,
                   double* c, std::size_t ldc) {
  constexpr std::size_t kCount = Doubles::kCount;
  Doubles::Value sums[kHeight][2];
#pragma GCC unroll 4
  for (std::size_t i = 0; i < kHeight; ++i) {
    sums[i][0] = Doubles::load(c + i * ldc);
    sums[i][1] = Doubles::load(c + i * ldc + kCount);
  }
  for (std::size_t row = 0; row < rows; ++row, left += ld, right += ld) {
    const Doubles::Value first = Doubles::load(right), second = Doubles::load(right + kCount);
#pragma GCC unroll 4
    for (std::size_t i = 0; i < kHeight; ++i) {
      const Doubles::Value x = Doubles::broadcast(left[i]);
      sums[i][0] = Doubles::fma(x, first, sums[i][0]);
      sums[i][1] = Doubles::fma(x, second, sums[i][1]);
    }
  }
#pragma GCC unroll 4
  for (std::size_t i = 0; i < kHeight; ++i) {
    Doubles::store(c + i * ldc, sums[i][0]);
    Doubles::store(c + i * ldc + kCount, sums[i][1]);
  }
}

void add_gram(const double* left, const double* right, std::size_t ld, std::size_t rows,
              std::size_t height, std::size_t width, double* c, std::size_t ldc) {
  constexpr std::size_t kHeight = 4, kWidth = 2 * Doubles::kCount;
  std::size_t j = 0;
  for (; j + kWidth <= width; j += kWidth) {
    std::size_t i = 0;
    for (; i + kHeight <= height; i += kHeight) {
      add_gram_tile<kHeight>(left + i, right + j, ld, rows, c + i * ldc + j, ldc);
    }
    for (; i < height; ++i) {
      add_gram_tile<1>(left + i, right + j, ld, rows, c + i * ldc + j, ldc);
    }
  }
  for (std::size_t i = 0; i < height; ++i) {
    for (std::size_t column = j; column < width; ++column) {
      double& sum = c[i * ldc + column];
      for (std::size_t row = 0; row < rows; ++row) {
        sum = __builtin_fma(left[row * ld + i], right[row * ld + column], sum);
      }
    }
  }
}

inline void set_doubles(Kernels& table) {
  table.add_scaled = add_scaled;
  table.turn_rows = turn_rows;
  table.add_gram = add_gram;
}

}  // namespace
}  // namespace cllm::kernels
