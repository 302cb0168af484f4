#pragma once

#include <cstdint>
#include <span>

#include "cllm/model/layout.h"

namespace cllm::model {

/// GPT-2's initialisation: matrices normal with deviation 0.02, those that write to the residual
/// stream 0.02 / sqrt(2L) (Radford et al. 2019, 2.3), gains 1, biases 0. A factorised embedding has
/// codes with `code_deviation` and an orthonormal basis. The same bits for a seed whatever the
/// number of ranks, and of `threads` that draw it. `parameters` is a flat buffer of the layout.
void initialize(const Layout& layout, std::uint64_t seed, std::span<float> parameters, int threads);

/// The deviation of the token embedding's elements that makes embeddings 0.02: of codes over an
/// orthonormal basis 0.02 sqrt(C / r).
double code_deviation(const ModelConfig& config);

}  // namespace cllm::model
