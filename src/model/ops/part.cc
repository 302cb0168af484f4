#include "cllm/model/ops/part.h"

#include <algorithm>

#include "cllm/kernels/products.h"

namespace cllm::model {

void Context::multiply(const ConstView& x, std::size_t rows, const ConstView& weight,
                       std::size_t out, float* y, std::size_t stride) const {
  const kernels::Product product{kernels::Transpose::kNo,
                                 kernels::Transpose::kYes,
                                 rows,
                                 out,
                                 x.columns,
                                 1.0f,
                                 x.data,
                                 x.stride,
                                 weight.data,
                                 weight.stride,
                                 0.0f,
                                 y,
                                 stride};
  if (helpers != nullptr) {
    kernels::multiply_together(*helpers, product);
  } else {
    kernels::multiply(kernels::products(), product);
  }
}

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
