#pragma once

#include "cllm/lattice/decoders.h"

namespace cllm::lattice::avx2 {

/// What decoders_avx2.cc exports; Note [Files of an implementation] in src/kernels/tables.h says
/// why no more.
bool decode_e8(const float* x, std::int32_t* doubled, std::size_t count);

}  // namespace cllm::lattice::avx2
