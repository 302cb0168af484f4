#pragma once

#include "cllm/lattice/decoders.h"

namespace cllm::lattice::avx2 {

/// What decoders_avx2.cc exports; Note [AVX2 files] in src/kernels/avx2.h says why no more.
bool decode_e8(const float* x, std::int32_t* doubled, std::size_t count);

}  // namespace cllm::lattice::avx2
