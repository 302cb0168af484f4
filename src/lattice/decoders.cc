#include "cllm/lattice/decoders.h"

#include <string_view>

#include "cllm/kernels/kernels.h"
#include "decoders_avx2.h"

namespace cllm::lattice {
namespace {

constexpr std::size_t kDimension = 8;

}  // namespace

const Decoders& avx2_decoders() {
  kernels::avx2_kernels();  // throws where there is no AVX2
#ifdef CLLM_HAS_AVX2_TWIN
  static constexpr Decoders kTable = {.name = "avx2", .e8 = avx2::decode_e8, .d4 = avx2::decode_d4};
  return kTable;
#else
  return portable_decoders();
#endif
}

const Decoders& select_decoders() {
  return &kernels::select_kernels() == &kernels::portable_kernels() ? portable_decoders()
                                                                    : avx2_decoders();
}

void pack_e8(const std::int32_t* doubled, std::int32_t* packed, std::size_t count) {
  for (std::size_t point = 0; point < count; ++point) {
    const std::int32_t shifted = doubled[point * kDimension] & 1;
    for (std::size_t i = point * kDimension; i < (point + 1) * kDimension; ++i) {
      packed[i] = (doubled[i] - shifted) / 2;
    }
    std::int32_t& last = packed[point * kDimension + kDimension - 1];
    last = (last & ~1) | shifted;
  }
}

void unpack_e8(const std::int32_t* packed, std::int32_t* doubled, std::size_t count) {
  for (std::size_t point = 0; point < count; ++point) {
    const std::int32_t* const from = packed + point * kDimension;
    std::int32_t* const to = doubled + point * kDimension;
    const std::int32_t shifted = from[kDimension - 1] & 1;
    std::int32_t sum = 0;
    for (std::size_t i = 0; i + 1 < kDimension; ++i) {
      sum ^= from[i];
      to[i] = 2 * from[i] + shifted;
    }
    const std::int32_t last = (from[kDimension - 1] & ~1) | (sum & 1);  // makes the sum even
    to[kDimension - 1] = 2 * last + shifted;
  }
}

}  // namespace cllm::lattice
