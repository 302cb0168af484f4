#pragma once

#include "transpose_x86.h"

/// The vectors of products with AVX2: lanes.h says what they are.
namespace cllm::kernels {
namespace {

struct Lanes : Transposing {
  using Lane = __m256;
  static constexpr std::size_t kWidth = 8;
  static constexpr std::size_t kTileRows = 6;  // with two vectors each: 12 of 16 registers

  static Lane load(const float* x) { return _mm256_loadu_ps(x); }
  static void store(float* x, Lane value) { _mm256_storeu_ps(x, value); }
  static Lane broadcast(float x) { return _mm256_set1_ps(x); }
  static Lane fma(Lane a, Lane b, Lane c) { return _mm256_fmadd_ps(a, b, c); }
  static Lane add(Lane a, Lane b) { return _mm256_add_ps(a, b); }
  static Lane multiply(Lane a, Lane b) { return _mm256_mul_ps(a, b); }
};

}  // namespace
}  // namespace cllm::kernels
