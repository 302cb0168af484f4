#pragma once

#include <span>

#include "cllm/model/layout.h"

namespace cllm::model {

/// The model without its adapters.
ModelConfig without_adapters(ModelConfig config);

/// Fills the tensors of a flat buffer of `to`, but for adapters, with those of `from`, whose
/// adapters are added to their matrices: W + alpha / r B A, computed in double and rounded once.
/// Both are layouts of one model, with the same adapters, others, or none.
void merge(const Layout& from, std::span<const float> parameters, const Layout& to,
           std::span<float> merged);

/// Where all of a model with adapters but these is frozen, the rest lies in one piece: it is a flat
/// buffer of the layout of the model without them.
std::span<float> base_of(const Layout& layout, std::span<float> parameters);

}  // namespace cllm::model
