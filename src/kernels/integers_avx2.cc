#include "avx2.h"
#include "vector_avx2.h"

namespace cllm::kernels {
namespace {

std::uint32_t horizontal_largest(__m256i x) {
  __m128i top = _mm_max_epu32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
  top = _mm_max_epu32(top, _mm_unpackhi_epi64(top, top));
  top = _mm_max_epu32(top, _mm_shuffle_epi32(top, 1));
  return static_cast<std::uint32_t>(_mm_cvtsi128_si32(top));
}

/// The larger bits of each element, without the sign. As integers, the bits of positive floats are
/// in the order of the floats, and NaNs come last.
struct RunningLargest {
  __m256i tops[4] = {_mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256(),
                     _mm256_setzero_si256()};

  template <std::size_t kCount>
  void take(const Pack<kCount>& x) {
    const Pack<kCount> magnitude = and_not(Pack<kCount>(-0.0f), x);
#pragma GCC unroll 4
    for (std::size_t k = 0; k < kCount; ++k) {
      tops[k] = _mm256_max_epu32(tops[k], _mm256_castps_si256(magnitude.v[k]));
    }
  }
};

[[gnu::flatten]] float largest(const float* x, std::size_t n) {
  RunningLargest running;
  for_each_pack<4>(n, [&](std::size_t i, auto part) { running.take(part.load(x + i)); });
  const __m256i* tops = running.tops;
  return __builtin_bit_cast(
      float, horizontal_largest(_mm256_max_epu32(_mm256_max_epu32(tops[0], tops[1]),
                                                 _mm256_max_epu32(tops[2], tops[3]))));
}

[[gnu::flatten]] void encode(const float* x, float scale, std::int32_t* sums, std::size_t n) {
  for_each_pack<4>(n, [=](std::size_t i, auto part) {
    part.store(sums + i, round_to_bits(part.load(x + i) * scale));
  });
}

[[gnu::flatten]] void encode_add(const float* x, float scale, std::int32_t* sums, std::size_t n) {
  for_each_pack<4>(n, [=](std::size_t i, auto part) {
    prefetch(sums + i, kNearAhead);
    prefetch(sums + i, kNearAhead + 64);
    part.store(sums + i, add_bits(part.load(sums + i), round_to_bits(part.load(x + i) * scale)));
  });
}

/// low + high 2^30 += the product, rounded. All steps are exact but the last rounding: the upper
/// part and what it leaves have no more digits than the product.
template <std::size_t kCount>
void add_product(const Pack<kCount>& product, Pack<kCount>& low, Pack<kCount>& high) {
  using Value = Pack<kCount>;
  const Value upper = round_to_bits(product * Value(0x1p-30f));
  const Value rest = subtract_product(bits_to_float(upper), Value(0x1p30f), product);
  low = add_bits(low, round_to_bits(rest));
  high = add_bits(high, upper);
}

[[gnu::flatten]] void encode_add_wide(const float* x, float scale, std::int32_t* low,
                                      std::int32_t* high, std::size_t n) {
  for_each_pack<2>(n, [=](std::size_t i, auto part) {
    auto sum_low = part.load(low + i), sum_high = part.load(high + i);
    add_product(part.load(x + i) * scale, sum_low, sum_high);
    part.store(low + i, sum_low);
    part.store(high + i, sum_high);
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
  table.largest = largest;
  table.encode = encode;
  table.encode_add = encode_add;
  table.encode_add_wide = encode_add_wide;
  table.add_integers = add_integers;
  table.integer_norm = integer_norm;
}

}  // namespace cllm::kernels
