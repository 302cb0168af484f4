#include "decoders_avx2.h"

#include <immintrin.h>

/// Eight points at a time, one in each lane: register i holds their coordinates i. What a lane does
/// is what decoders_portable.cc does, in the same order, so that the results are the same bits.
namespace cllm::lattice {
namespace {

constexpr std::size_t kLanes = 8;
constexpr int kDimension = 8;

/// Transposes 8 points of 8 coordinates; the elements' bits are only moved.
[[gnu::always_inline]] inline void transpose(__m256* rows) {
  __m256 pairs[8];
  __m256 fours[8];
#pragma GCC unroll 8
  for (int i = 0; i < 4; ++i) {
    pairs[2 * i] = _mm256_unpacklo_ps(rows[2 * i], rows[2 * i + 1]);
    pairs[2 * i + 1] = _mm256_unpackhi_ps(rows[2 * i], rows[2 * i + 1]);
  }
#pragma GCC unroll 2
  for (int half = 0; half < 8; half += 4) {
    fours[half] = _mm256_shuffle_ps(pairs[half], pairs[half + 2], 0x44);
    fours[half + 1] = _mm256_shuffle_ps(pairs[half], pairs[half + 2], 0xee);
    fours[half + 2] = _mm256_shuffle_ps(pairs[half + 1], pairs[half + 3], 0x44);
    fours[half + 3] = _mm256_shuffle_ps(pairs[half + 1], pairs[half + 3], 0xee);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    rows[i] = _mm256_permute2f128_ps(fours[i], fours[i + 4], 0x20);
    rows[i + 4] = _mm256_permute2f128_ps(fours[i], fours[i + 4], 0x31);
  }
}

[[gnu::always_inline]] inline __m256 size_of(__m256 x) {
  return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), x);
}

/// The nearest points of D8 and their squared distances.
[[gnu::always_inline]] inline __m256 nearest_even_sum(const __m256* x, __m256i* points) {
  __m256 rests[kDimension];
  __m256 squared_distance = _mm256_setzero_ps();
  __m256 worst_size = _mm256_setzero_ps();
  __m256i sum = _mm256_setzero_si256();
#pragma GCC unroll 8
  for (int i = 0; i < kDimension; ++i) {
    points[i] = _mm256_cvtps_epi32(x[i]);
    rests[i] = _mm256_sub_ps(x[i], _mm256_cvtepi32_ps(points[i]));
    squared_distance = _mm256_add_ps(squared_distance, _mm256_mul_ps(rests[i], rests[i]));
    worst_size = _mm256_max_ps(worst_size, size_of(rests[i]));
    sum = _mm256_xor_si256(sum, points[i]);
  }
  // All bits of the lanes whose sum is odd and whose worst coordinate is still to come.
  __m256i to_move = _mm256_srai_epi32(_mm256_slli_epi32(sum, 31), 31);
  const __m256 odd = _mm256_castsi256_ps(to_move);
#pragma GCC unroll 8
  for (int i = 0; i < kDimension; ++i) {
    const __m256i worst =
        _mm256_castps_si256(_mm256_cmp_ps(size_of(rests[i]), worst_size, _CMP_EQ_OQ));
    const __m256i moves = _mm256_and_si256(worst, to_move);
    to_move = _mm256_andnot_si256(worst, to_move);
    const __m256i below =
        _mm256_castps_si256(_mm256_cmp_ps(rests[i], _mm256_setzero_ps(), _CMP_LT_OQ));
    const __m256i step = _mm256_or_si256(below, _mm256_set1_epi32(1));  // -1 or 1
    points[i] = _mm256_add_epi32(points[i], _mm256_and_si256(moves, step));
  }
  const __m256 change =
      _mm256_sub_ps(_mm256_set1_ps(1), _mm256_mul_ps(_mm256_set1_ps(2), worst_size));
  return _mm256_add_ps(squared_distance, _mm256_and_ps(odd, change));
}

[[gnu::always_inline]] inline void decode(const __m256 (&x)[8], __m256i (&doubled)[8]) {
  __m256 lowered[8];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) lowered[i] = _mm256_sub_ps(x[i], _mm256_set1_ps(0.5f));
  __m256i shifted[8];
  const __m256 distance = nearest_even_sum(x, doubled);
  const __m256 shifted_distance = nearest_even_sum(lowered, shifted);
  const __m256i take_shifted =
      _mm256_castps_si256(_mm256_cmp_ps(shifted_distance, distance, _CMP_LT_OQ));
  const __m256i one = _mm256_and_si256(take_shifted, _mm256_set1_epi32(1));
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
    const __m256i half = _mm256_blendv_epi8(doubled[i], shifted[i], take_shifted);
    doubled[i] = _mm256_add_epi32(_mm256_add_epi32(half, half), one);
  }
}

/// kLanes points. All bits of a lane of the result are set where a number is out of range.
[[gnu::always_inline]] inline __m256 decode_lanes(const float* from, std::int32_t* to) {
  __m256 x[kDimension];
  __m256 outside = _mm256_setzero_ps();
#pragma GCC unroll 8
  for (int i = 0; i < kDimension; ++i) {
    x[i] = _mm256_loadu_ps(from + i * 8);
    // Not <=, so that a NaN is outside.
    outside = _mm256_or_ps(
        outside, _mm256_cmp_ps(size_of(x[i]), _mm256_set1_ps(kMostCoordinate), _CMP_NLE_UQ));
  }
  transpose(x);
  __m256i points[kDimension];
  decode(x, points);
  __m256 moved[kDimension];
#pragma GCC unroll 8
  for (int i = 0; i < kDimension; ++i) moved[i] = _mm256_castsi256_ps(points[i]);
  transpose(moved);
#pragma GCC unroll 8
  for (int i = 0; i < kDimension; ++i) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + i * 8), _mm256_castps_si256(moved[i]));
  }
  return outside;
}

[[gnu::always_inline]] inline bool decode_points(const float* x, std::int32_t* points,
                                                 std::size_t count) {
  constexpr std::size_t kStep = kLanes * kDimension;
  __m256 outside = _mm256_setzero_ps();
  std::size_t at = 0;
  const std::size_t size = count * kDimension;
  for (; at + kStep <= size; at += kStep) {
    outside = _mm256_or_ps(outside, decode_lanes(x + at, points + at));
  }
  if (at < size) {
    float last[kStep] = {};
    std::int32_t found[kStep];
    for (std::size_t i = 0; at + i < size; ++i) last[i] = x[at + i];
    outside = _mm256_or_ps(outside, decode_lanes(last, found));
    for (std::size_t i = 0; at + i < size; ++i) points[at + i] = found[i];
  }
  return _mm256_movemask_ps(outside) == 0;
}

}  // namespace

bool avx2::decode_e8(const float* x, std::int32_t* doubled, std::size_t count) {
  return decode_points(x, doubled, count);
}

}  // namespace cllm::lattice
