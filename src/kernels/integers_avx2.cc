#include "avx2.h"
#include "vector_avx2.h"

namespace cllm::kernels {
namespace {

Vector any(const Pack<1>& masks) { return masks; }
Vector any(const Pack<4>& masks) {
  return (masks.one(0) | masks.one(1)) | (masks.one(2) | masks.one(3));
}

/// store(i, part, coordinates of x[i]) along the row, and whether all are within the limit. That is
/// asked once, at the end, because a branch for every vector costs more than the memory does.
template <typename Store>
bool encode_row(const float* x, float scale, float limit, std::size_t n, const Store& store) {
  Vector beyond = 0;
  for_each_pack<4>(n, [&](std::size_t i, auto part) {
    const auto product = part.load(x + i) * scale;
    const auto size = and_not(decltype(product)(-0.0f), product);
    beyond = beyond | any(exceeds(size, limit));
    store(i, part, round_to_bits(product));
  });
  return _mm256_movemask_ps(beyond.v[0]) == 0;
}

[[gnu::flatten]] bool encode(const float* x, float scale, float limit, std::int32_t* sums,
                             std::size_t n) {
  return encode_row(x, scale, limit, n, [=](std::size_t i, auto part, const auto& coordinates) {
    part.store(sums + i, coordinates);
  });
}

[[gnu::flatten]] bool encode_add(const float* x, float scale, float limit, std::int32_t* sums,
                                 std::size_t n) {
  return encode_row(x, scale, limit, n, [=](std::size_t i, auto part, const auto& coordinates) {
    prefetch(sums + i, kNearAhead);
    prefetch(sums + i, kNearAhead + 64);
    part.store(sums + i, add_bits(part.load(sums + i), coordinates));
  });
}

[[gnu::flatten]] void add_integers(const std::int32_t* x, std::int32_t* y, std::size_t n) {
  for_each_pack<4>(n, [=](std::size_t i, auto part) {
    part.store(y + i, add_bits(part.load(y + i), part.load(x + i)));
  });
}

__m256d add_squares(__m256d sum, __m128i x) {
  const __m256d wide = _mm256_cvtepi32_pd(x);
  return _mm256_fmadd_pd(wide, wide, sum);
}

/// |-2^31| is right as an unsigned number.
__m256i larger(__m256i top, __m256i x) { return _mm256_max_epu32(top, _mm256_abs_epi32(x)); }

/// Several running sums and maxima, so that no chain of additions waits.
struct RunningNorm {
  __m256d sums[4] = {_mm256_setzero_pd(), _mm256_setzero_pd(), _mm256_setzero_pd(),
                     _mm256_setzero_pd()};
  __m256i tops[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};

  template <std::size_t kCount>
  void take(const Pack<kCount>& bits) {
#pragma GCC unroll 2
    for (std::size_t k = 0; k < kCount; ++k) {
      const __m256i x = _mm256_castps_si256(bits.v[k]);
      sums[2 * k] = add_squares(sums[2 * k], _mm256_castsi256_si128(x));
      sums[2 * k + 1] = add_squares(sums[2 * k + 1], _mm256_extracti128_si256(x, 1));
      tops[k] = larger(tops[k], x);
    }
  }
};

std::uint32_t horizontal_largest(__m256i x) {
  __m128i top = _mm_max_epu32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
  top = _mm_max_epu32(top, _mm_unpackhi_epi64(top, top));
  top = _mm_max_epu32(top, _mm_shuffle_epi32(top, 1));
  return static_cast<std::uint32_t>(_mm_cvtsi128_si32(top));
}

[[gnu::flatten]] IntegerNorm integer_norm(const std::int32_t* x, std::size_t n) {
  RunningNorm norm;
  for_each_pack<2>(n, [&](std::size_t i, auto part) {
    prefetch(x + i, kFarAhead);
    norm.take(part.load(x + i));
  });
  const __m256d sum = _mm256_add_pd(_mm256_add_pd(norm.sums[0], norm.sums[1]),
                                    _mm256_add_pd(norm.sums[2], norm.sums[3]));
  const __m128d pair = _mm_add_pd(_mm256_castpd256_pd128(sum), _mm256_extractf128_pd(sum, 1));
  return {_mm_cvtsd_f64(_mm_add_sd(pair, _mm_unpackhi_pd(pair, pair))),
          horizontal_largest(_mm256_max_epu32(norm.tops[0], norm.tops[1]))};
}

}  // namespace

void avx2::set_integers(Kernels& table) {
  table.encode = encode;
  table.encode_add = encode_add;
  table.add_integers = add_integers;
  table.integer_norm = integer_norm;
}

}  // namespace cllm::kernels
