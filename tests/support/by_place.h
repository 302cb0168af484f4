#pragma once

#include <algorithm>
#include <vector>

#include "cllm/model/layout.h"

namespace cllm::support {

/// The tensors in the order in which they lie in a flat buffer.
inline std::vector<model::Tensor> by_place(const model::Layout& layout) {
  std::vector<model::Tensor> tensors(layout.tensors().begin(), layout.tensors().end());
  std::ranges::sort(tensors, {}, &model::Tensor::offset);
  return tensors;
}

}  // namespace cllm::support
