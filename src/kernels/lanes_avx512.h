#pragma once

#include "transpose_x86.h"

/// The vectors of products with AVX-512: lanes.h says what they are.
namespace cllm::kernels {
namespace {

struct Lanes : Transposing {
  using Lane = __m512;
  static constexpr std::size_t kWidth = 16;
  static constexpr std::size_t kTileRows = 14;  // with two vectors each: 28 of 32 registers

  static Lane load(const float* x) { return _mm512_loadu_ps(x); }
  static void store(float* x, Lane value) { _mm512_storeu_ps(x, value); }
  static Lane broadcast(float x) { return _mm512_set1_ps(x); }
  static Lane fma(Lane a, Lane b, Lane c) { return _mm512_fmadd_ps(a, b, c); }
  static Lane add(Lane a, Lane b) { return _mm512_add_ps(a, b); }
  static Lane multiply(Lane a, Lane b) { return _mm512_mul_ps(a, b); }
};

}  // namespace
}  // namespace cllm::kernels
