#pragma once

#include <cstdint>
#include <span>

#include "cllm/model/layout.h"

namespace cllm::model {

/// Note [Initial weights]
///
/// Gains are 1, biases 0, embeddings normal with deviation 0.02, or as `embedding_deviation` has
/// it. A factorised embedding has codes with that and an orthonormal basis; of bands of frequency
/// the basis is the leading rows of the identity, so that all bands are numbers of the same
/// channels.
///
/// InitialWeights::kNormal is GPT-2's way: matrices normal with deviation 0.02, those that write to
/// the residual stream 0.02 / sqrt(2L) (Radford et al. 2019, 2.3). kZeroProjections is the way of
/// modern recipes (nanochat's): those that write to the residual stream are 0, so that each layer
/// begins as the identity; others are uniform with deviation 1 / sqrt(C). An output layer of its
/// own is 0 in both, so that the first loss is ln V. Adapters: Lora.

/// The same bits for a seed whatever the number of ranks, and of `threads` that draw it.
/// `parameters` is a flat buffer of the layout.
void initialize(const Layout& layout, std::uint64_t seed, std::span<float> parameters, int threads);

/// Draws the adapters alone, and leaves the rest as it is.
void initialize_adapters(const Layout& layout, std::uint64_t seed, std::span<float> parameters,
                         int threads);

/// The deviation with which elements of the token embedding start, of rows or codes of this rank:
/// that makes embeddings 0.02, so of codes over an orthonormal basis it is 0.02 sqrt(C / r). Of
/// embeddings that aren't the output layer too, whose logits would be large, it makes them 2: as
/// large as what the layers will add to them, so that what a token is, and what the corpus says of
/// it, isn't lost behind that (measured: docs/recipes.md).
double embedding_deviation(const ModelConfig& config, std::size_t rank);

}  // namespace cllm::model
