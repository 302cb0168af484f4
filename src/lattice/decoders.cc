#include "cllm/lattice/decoders.h"

#include "cllm/kernels/kernels.h"
#include "decoders_avx2.h"

namespace cllm::lattice {

const Decoders& avx2_decoders() {
  kernels::avx2_kernels();  // throws where there is no AVX2
#ifdef CLLM_HAS_AVX2
  static constexpr Decoders kTable = {.name = "avx2", .e8 = avx2::decode_e8};
  return kTable;
#else
  return portable_decoders();
#endif
}

const Decoders& select_decoders() {
  return &kernels::select_kernels() == &kernels::portable_kernels() ? portable_decoders()
                                                                    : avx2_decoders();
}

}  // namespace cllm::lattice
