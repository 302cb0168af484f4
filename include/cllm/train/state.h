#pragma once

#include <cstdint>
#include <vector>

#include "cllm/base/slab.h"
#include "cllm/model/layout.h"

namespace cllm::train {

/// Everything that a step changes: slabs of one layout, replicated on all ranks.
struct State {
  explicit State(const model::Layout& layout)
      : parameters(layout.slab_size()), m(layout.slab_size()), v(layout.slab_size()) {}

  Slab<float> parameters;
  Slab<float> m;  ///< AdamW's mean of gradients
  Slab<float> v;  ///< AdamW's mean of squared gradients
  /// Of Note [Exact sums]: for the next step, one for each tensor; empty where there is no history.
  std::vector<std::int32_t> scale_exponents;
  std::uint64_t step = 0;
  std::uint64_t tokens_seen = 0;
};

}  // namespace cllm::train
