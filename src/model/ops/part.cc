#include "cllm/model/ops/part.h"

#include <algorithm>

namespace cllm::model {

float* begin_vector_sum(const Context& context, const std::optional<std::size_t>& tensor,
                        const Rows& rows) {
  if (!tensor) return nullptr;
  float* const sum = context.workspace.vector_sum(*tensor, rows.block);
  std::fill_n(sum, context.layout[*tensor].size(), 0.0f);
  return sum;
}

float* begin_bias_sum(const Context& context, const std::optional<std::size_t>& bias,
                      const Rows& rows) {
  return bias && context.trains(*bias) ? begin_vector_sum(context, bias, rows) : nullptr;
}

}  // namespace cllm::model
