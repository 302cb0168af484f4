#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

/// Registers of eight floats, in AVX2's instructions: what vector.h makes its packs of. An unnamed
/// namespace in a header, on purpose: see Note [Files of an implementation] in tables.h.
namespace cllm::kernels {
namespace {

struct Eight {
  using Value = __m256;
  using Mask = __m256;  ///< all bits of an element, or none
  static constexpr std::size_t kFloats = 8;

  static Value broadcast(float x) { return _mm256_set1_ps(x); }
  static Value load(const float* from) { return _mm256_loadu_ps(from); }
  static void store(float* to, Value x) { _mm256_storeu_ps(to, x); }
  static Value load(const std::int32_t* from) {
    return _mm256_castsi256_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
  }
  static void store(std::int32_t* to, Value x) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm256_castps_si256(x));
  }

  static Value add(Value a, Value b) { return _mm256_add_ps(a, b); }
  static Value subtract(Value a, Value b) { return _mm256_sub_ps(a, b); }
  static Value multiply(Value a, Value b) { return _mm256_mul_ps(a, b); }
  static Value divide(Value a, Value b) { return _mm256_div_ps(a, b); }
  static Value fma(Value a, Value b, Value c) { return _mm256_fmadd_ps(a, b, c); }
  static Value subtract_product(Value a, Value b, Value c) { return _mm256_fnmadd_ps(a, b, c); }
  static Value root(Value a) { return _mm256_sqrt_ps(a); }
  static Value min(Value a, Value b) { return _mm256_min_ps(a, b); }
  static Value max(Value a, Value b) { return _mm256_max_ps(a, b); }

  static Mask less(Value a, Value b) { return _mm256_cmp_ps(a, b, _CMP_LT_OQ); }
  static Mask not_less(Value a, Value b) { return _mm256_cmp_ps(a, b, _CMP_NLT_UQ); }
  static Mask equal(Value a, Value b) { return _mm256_cmp_ps(a, b, _CMP_EQ_OQ); }
  static Value select(Mask mask, Value yes, Value no) { return _mm256_blendv_ps(no, yes, mask); }
  static Value where(Mask mask, Value x) { return _mm256_and_ps(mask, x); }

  static Value bit_and(Value a, Value b) { return _mm256_and_ps(a, b); }
  static Value bit_or(Value a, Value b) { return _mm256_or_ps(a, b); }
  static Value and_not(Value a, Value b) { return _mm256_andnot_ps(a, b); }
  static Value add_bits(Value a, Value b) { return of(_mm256_add_epi32(bits(a), bits(b))); }
  static Value subtract_bits(Value a, Value b) { return of(_mm256_sub_epi32(bits(a), bits(b))); }
  static Value shift_left(Value a, int count) { return of(_mm256_slli_epi32(bits(a), count)); }
  static Value shift_right(Value a, int count) { return of(_mm256_srai_epi32(bits(a), count)); }
  static Value largest_bits(Value a, Value b) { return of(_mm256_max_epu32(bits(a), bits(b))); }
  static Value absolute_bits(Value a) { return of(_mm256_abs_epi32(bits(a))); }
  static Value bits_to_float(Value a) { return _mm256_cvtepi32_ps(bits(a)); }
  static Value round_to_bits(Value a) { return of(_mm256_cvtps_epi32(a)); }

  /// The eight floats that there are.
  static Value eight(Value a, std::size_t) { return a; }

  static float first(Value a) { return _mm256_cvtss_f32(a); }
  /// ((0 + 4) + (2 + 6)) + ((1 + 5) + (3 + 7)), by their places.
  static float sum(Value a) {
    __m128 sum = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    sum = _mm_add_ps(sum, _mm_movehl_ps(sum, sum));
    return _mm_cvtss_f32(_mm_add_ss(sum, _mm_movehdup_ps(sum)));
  }
  static float top(Value a) {
    __m128 top = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    top = _mm_max_ps(top, _mm_movehl_ps(top, top));
    return _mm_cvtss_f32(_mm_max_ss(top, _mm_movehdup_ps(top)));
  }
  static std::uint32_t top_bits(Value a) {
    const __m256i x = bits(a);
    __m128i top = _mm_max_epu32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
    top = _mm_max_epu32(top, _mm_unpackhi_epi64(top, top));
    top = _mm_max_epu32(top, _mm_shuffle_epi32(top, 1));
    return static_cast<std::uint32_t>(_mm_cvtsi128_si32(top));
  }

  static __m256i bits(Value a) { return _mm256_castps_si256(a); }
  static Value of(__m256i a) { return _mm256_castsi256_ps(a); }
};

/// The first 1 to 7 of eight.
class Some {
 public:
  explicit Some(std::size_t count)
      : count_(count),
        mask_(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(kMasks + 8 - count))) {}

  /// 0 in the other places.
  __m256 load(const float* from) const { return _mm256_maskload_ps(from, mask_); }
  __m256 load(const std::int32_t* from) const {
    return _mm256_castsi256_ps(_mm256_maskload_epi32(from, mask_));
  }
  /// In pieces, because a masked store takes ten times as long on some processors.
  void store(float* to, __m256 x) const {
    __m128 rest = _mm256_castps256_ps128(x);
    if (count_ & 4) {
      _mm_storeu_ps(to, rest);
      to += 4;
      rest = _mm256_extractf128_ps(x, 1);
    }
    if (count_ & 2) {
      _mm_storel_pi(reinterpret_cast<__m64*>(to), rest);
      to += 2;
      rest = _mm_movehl_ps(rest, rest);
    }
    if (count_ & 1) _mm_store_ss(to, rest);
  }
  void store(std::int32_t* to, __m256 x) const {
    const __m256i bits = _mm256_castps_si256(x);
    __m128i rest = _mm256_castsi256_si128(bits);
    if (count_ & 4) {
      _mm_storeu_si128(reinterpret_cast<__m128i*>(to), rest);
      to += 4;
      rest = _mm256_extracti128_si256(bits, 1);
    }
    if (count_ & 2) {
      _mm_storel_epi64(reinterpret_cast<__m128i*>(to), rest);
      to += 2;
      rest = _mm_unpackhi_epi64(rest, rest);
    }
    if (count_ & 1) *to = _mm_cvtsi128_si32(rest);
  }
  /// x in those places, `other` in the others.
  __m256 keep(__m256 x, __m256 other) const {
    return _mm256_blendv_ps(other, x, _mm256_castsi256_ps(mask_));
  }

 private:
  static constexpr std::int32_t kMasks[16] = {-1, -1, -1, -1, -1, -1, -1, -1};

  std::size_t count_;
  __m256i mask_;
};

/// Four doubles.
struct FourDoubles {
  using Value = __m256d;
  static constexpr std::size_t kCount = 4;

  static Value load(const double* from) { return _mm256_loadu_pd(from); }
  static void store(double* to, Value x) { _mm256_storeu_pd(to, x); }
  static Value broadcast(double x) { return _mm256_set1_pd(x); }
  static Value multiply(Value a, Value b) { return _mm256_mul_pd(a, b); }
  static Value fma(Value a, Value b, Value c) { return _mm256_fmadd_pd(a, b, c); }
};

/// The sum of the squares of many numbers, in double: 16 running sums, of which a number's place
/// says the one it is added to.
class SquareSums {
 public:
  /// Those of group 0 or 1, eight places.
  void add(std::size_t group, __m256 x) {
    add_four(2 * group, _mm256_cvtps_pd(_mm256_castps256_ps128(x)));
    add_four(2 * group + 1, _mm256_cvtps_pd(_mm256_extractf128_ps(x, 1)));
  }
  /// The same of integers.
  void add_integers(std::size_t group, __m256 x) {
    const __m256i bits = _mm256_castps_si256(x);
    add_four(2 * group, _mm256_cvtepi32_pd(_mm256_castsi256_si128(bits)));
    add_four(2 * group + 1, _mm256_cvtepi32_pd(_mm256_extracti128_si256(bits, 1)));
  }
  double total() const {
    const __m256d sum =
        _mm256_add_pd(_mm256_add_pd(sums_[0], sums_[1]), _mm256_add_pd(sums_[2], sums_[3]));
    const __m128d pair = _mm_add_pd(_mm256_castpd256_pd128(sum), _mm256_extractf128_pd(sum, 1));
    return _mm_cvtsd_f64(_mm_add_sd(pair, _mm_unpackhi_pd(pair, pair)));
  }

 private:
  void add_four(std::size_t i, __m256d x) { sums_[i] = _mm256_fmadd_pd(x, x, sums_[i]); }

  __m256d sums_[4] = {_mm256_setzero_pd(), _mm256_setzero_pd(), _mm256_setzero_pd(),
                      _mm256_setzero_pd()};
};

}  // namespace
}  // namespace cllm::kernels
