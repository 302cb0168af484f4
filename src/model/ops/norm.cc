#include "cllm/model/ops/norm.h"

#include <algorithm>
#include <cstring>

namespace cllm::model {

void Norm::forward(const Context& context, const Rows& rows) const {
  const kernels::Kernels& k = context.kernels;
  const float* const gain = context.parameter(t_.gain);
  const float* const shift = context.parameter(t_.shift);
  const View x = context[b_.x].from(rows.first), y = context[b_.y].from(rows.first);
  float* const mean = context[b_.mean].row(rows.first);
  float* const rstd = context[b_.rstd].row(rows.first);
  if (!b_.branch) {
    k.layernorm(x.data, gain, shift, y.data, mean, rstd, rows.count, x.columns);
    return;
  }
  k.residual_layernorm(x.data, context[*b_.branch].row(rows.first),
                       context.parameter(*t_.branch_bias), gain, shift,
                       context[b_.sum].row(rows.first), y.data, mean, rstd, rows.count, x.columns);
}

void Norm::backward(const Context& context, const Rows& rows) const {
  const kernels::Kernels& k = context.kernels;
  const View sum = context[b_.sum], dy = context[b_.dy], dsum = context[b_.dsum];
  const View mean = context[b_.mean], rstd = context[b_.rstd];
  float* const dgain = begin_vector_sum(context, t_.gain, rows);
  float* const dshift = begin_vector_sum(context, t_.shift, rows);
  float* const dbias = t_.branch_bias ? begin_vector_sum(context, *t_.branch_bias, rows) : nullptr;
  for_chunks(rows, [&](std::size_t first, std::size_t count) {
    const std::size_t size = count * dsum.columns;
    if (b_.dnext) {
      std::memcpy(dsum.row(first), context[*b_.dnext].row(first), size * sizeof(float));
    } else {
      std::fill_n(dsum.row(first), size, 0.0f);
    }
    k.layernorm_backward(dy.row(first), sum.row(first), mean.row(first), rstd.row(first),
                         context.parameter(t_.gain), dsum.row(first), dgain, dshift, count,
                         dsum.columns);
    if (dbias != nullptr) k.add_column_sums(dsum.row(first), dbias, count, dsum.columns);
  });
}

std::vector<std::size_t> Norm::vectors() const {
  std::vector<std::size_t> vectors = {t_.gain, t_.shift};
  if (t_.branch_bias) vectors.push_back(*t_.branch_bias);
  return vectors;
}

}  // namespace cllm::model
