#include "cllm/model/ops/activation.h"

namespace cllm::model {

void Gelu::forward(const Context& context, const Rows& rows) const {
  const View x = context[b_.x].from(rows.first), y = context[b_.y].from(rows.first);
  context.kernels.bias_gelu(context.parameter(bias_), x.data, y.data, rows.count, x.columns);
}

void Gelu::backward(const Context& context, const Rows& rows) const {
  const View x = context[b_.x], d = context[b_.d];
  float* const sum = begin_vector_sum(context, bias_, rows);
  for_chunks(rows, [&](std::size_t first, std::size_t count) {
    context.kernels.gelu_backward(x.row(first), d.row(first), d.row(first), count * x.columns);
    context.kernels.add_column_sums(d.row(first), sum, count, d.columns);
  });
}

}  // namespace cllm::model
