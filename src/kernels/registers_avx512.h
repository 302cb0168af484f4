#pragma once

#include "registers_avx2.h"

/// Registers of sixteen floats, in AVX-512's instructions: what vector.h makes those packs of that
/// have an even number of eights. What it does with eight floats is AVX2's.
namespace cllm::kernels {
namespace {

struct Sixteen {
  using Value = __m512;
  using Mask = __mmask16;
  static constexpr std::size_t kFloats = 16;

  static Value broadcast(float x) { return _mm512_set1_ps(x); }
  static Value load(const float* from) { return _mm512_loadu_ps(from); }
  static void store(float* to, Value x) { _mm512_storeu_ps(to, x); }
  static Value load(const std::int32_t* from) { return of(_mm512_loadu_si512(from)); }
  static void store(std::int32_t* to, Value x) { _mm512_storeu_si512(to, bits(x)); }

  static Value add(Value a, Value b) { return _mm512_add_ps(a, b); }
  static Value subtract(Value a, Value b) { return _mm512_sub_ps(a, b); }
  static Value multiply(Value a, Value b) { return _mm512_mul_ps(a, b); }
  static Value divide(Value a, Value b) { return _mm512_div_ps(a, b); }
  static Value fma(Value a, Value b, Value c) { return _mm512_fmadd_ps(a, b, c); }
  static Value subtract_product(Value a, Value b, Value c) { return _mm512_fnmadd_ps(a, b, c); }
  static Value root(Value a) { return _mm512_sqrt_ps(a); }
  static Value min(Value a, Value b) { return _mm512_min_ps(a, b); }
  static Value max(Value a, Value b) { return _mm512_max_ps(a, b); }

  static Mask less(Value a, Value b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
  static Mask not_less(Value a, Value b) { return _mm512_cmp_ps_mask(a, b, _CMP_NLT_UQ); }
  static Mask equal(Value a, Value b) { return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ); }
  static Value select(Mask mask, Value yes, Value no) {
    return _mm512_mask_blend_ps(mask, no, yes);
  }
  static Value where(Mask mask, Value x) { return _mm512_maskz_mov_ps(mask, x); }

  static Value bit_and(Value a, Value b) { return _mm512_and_ps(a, b); }
  static Value bit_or(Value a, Value b) { return _mm512_or_ps(a, b); }
  static Value and_not(Value a, Value b) { return _mm512_andnot_ps(a, b); }
  static Value add_bits(Value a, Value b) { return of(_mm512_add_epi32(bits(a), bits(b))); }
  static Value subtract_bits(Value a, Value b) { return of(_mm512_sub_epi32(bits(a), bits(b))); }
  static Value shift_left(Value a, int count) {
    return of(_mm512_slli_epi32(bits(a), static_cast<unsigned>(count)));
  }
  static Value shift_right(Value a, int count) {
    return of(_mm512_srai_epi32(bits(a), static_cast<unsigned>(count)));
  }
  static Value largest_bits(Value a, Value b) { return of(_mm512_max_epu32(bits(a), bits(b))); }
  static Value absolute_bits(Value a) { return of(_mm512_abs_epi32(bits(a))); }
  static Value bits_to_float(Value a) { return _mm512_cvtepi32_ps(bits(a)); }
  static Value round_to_bits(Value a) { return of(_mm512_cvtps_epi32(a)); }

  /// The lower eight, or the upper.
  static __m256 eight(Value a, std::size_t k) {
    return k == 0 ? _mm512_castps512_ps256(a) : _mm512_extractf32x8_ps(a, 1);
  }

  static __m512i bits(Value a) { return _mm512_castps_si512(a); }
  static Value of(__m512i a) { return _mm512_castsi512_ps(a); }
};

/// Eight doubles.
struct EightDoubles {
  using Value = __m512d;
  static constexpr std::size_t kCount = 8;

  static Value load(const double* from) { return _mm512_loadu_pd(from); }
  static void store(double* to, Value x) { _mm512_storeu_pd(to, x); }
  static Value broadcast(double x) { return _mm512_set1_pd(x); }
  static Value multiply(Value a, Value b) { return _mm512_mul_pd(a, b); }
  static Value fma(Value a, Value b, Value c) { return _mm512_fmadd_pd(a, b, c); }
};

}  // namespace
}  // namespace cllm::kernels
