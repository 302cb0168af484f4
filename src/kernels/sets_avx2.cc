#include "tables.h"
#include "vector.h"

namespace cllm::kernels {
namespace {

__m256i bits_of(const Vector& x) { return _mm256_castps_si256(x.v[0]); }

/// Eight indices, or those that are left; then all bits in the other lanes, which no index has.
__m256i load_indices(const std::uint32_t* from, std::size_t left) {
  const auto* indices = reinterpret_cast<const std::int32_t*>(from);
  if (left >= kLanes) return bits_of(Whole<1>().load(indices));
  const Part part(left);
  const Vector none =
      Vector::map([](std::size_t) { return _mm256_castsi256_ps(_mm256_set1_epi32(-1)); });
  return bits_of(part.keep(part.load(indices), none));
}

/// Eight weights, or those that are left; then 0.
__m256i load_weights(const std::uint32_t* from, std::size_t left) {
  const auto* weights = reinterpret_cast<const std::int32_t*>(from);
  return bits_of(left >= kLanes ? Whole<1>().load(weights) : Part(left).load(weights));
}

/// All bits in the lanes of a whose value is in any lane of b.
__m256i members(__m256i a, __m256i b) {
  const __m256i turn = _mm256_setr_epi32(1, 2, 3, 0, 5, 6, 7, 4);
  const __m256i swapped = _mm256_permute2x128_si256(b, b, 1);
  __m256i found = _mm256_or_si256(_mm256_cmpeq_epi32(a, b), _mm256_cmpeq_epi32(a, swapped));
  __m256i near = b, far = swapped;
#pragma GCC unroll 3
  for (int i = 0; i < 3; ++i) {
    near = _mm256_permutevar8x32_epi32(near, turn);
    far = _mm256_permutevar8x32_epi32(far, turn);
    found = _mm256_or_si256(
        found, _mm256_or_si256(_mm256_cmpeq_epi32(a, near), _mm256_cmpeq_epi32(a, far)));
  }
  return found;
}

/// Blocks of eight against blocks of eight, as two lists are merged: the block that ends lower has
/// met all that it can meet (Lemire, Boytsov and Kurz: "SIMD compression and the intersection of
/// sorted integers", Software: Practice and Experience 46, 2016).
[[gnu::flatten]] std::uint32_t shared_weight(const std::uint32_t* a, const std::uint32_t* weights,
                                             std::size_t na, const std::uint32_t* b,
                                             std::size_t nb) {
  __m256i sum = _mm256_setzero_si256();
  for (std::size_t i = 0, j = 0; i < na && j < nb;) {
    const std::size_t left_a = na - i, left_b = nb - j;
    const __m256i found = members(load_indices(a + i, left_a), load_indices(b + j, left_b));
    sum = _mm256_add_epi32(sum, _mm256_and_si256(found, load_weights(weights + i, left_a)));
    const std::uint32_t last_a = a[left_a < kLanes ? na - 1 : i + kLanes - 1];
    const std::uint32_t last_b = b[left_b < kLanes ? nb - 1 : j + kLanes - 1];
    if (last_a <= last_b) i += kLanes;
    if (last_b <= last_a) j += kLanes;
  }
  __m128i half = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
  half = _mm_add_epi32(half, _mm_unpackhi_epi64(half, half));
  half = _mm_add_epi32(half, _mm_shuffle_epi32(half, 1));
  return static_cast<std::uint32_t>(_mm_cvtsi128_si32(half));
}

}  // namespace

void set_sets(Kernels& table) { table.shared_weight = shared_weight; }

}  // namespace cllm::kernels
