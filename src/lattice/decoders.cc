#include "cllm/lattice/decoders.h"

#include <string_view>

#include "cllm/kernels/implementations.h"
#include "decoders_avx2.h"

namespace cllm::lattice {

const Decoders& avx2_decoders() {
  kernels::find_kernels("avx2");  // throws where there is no AVX2
#ifdef CLLM_HAS_AVX2
  static constexpr Decoders kTable = {.name = "avx2", .e8 = avx2::decode_e8};
  return kTable;
#else
  return portable_decoders();
#endif
}

const Decoders& select_decoders() {
  const std::string_view name = kernels::select_kernels().name;
  return name.starts_with("avx") ? avx2_decoders() : portable_decoders();
}

}  // namespace cllm::lattice
