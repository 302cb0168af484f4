#include "cllm/model/ops/norm.h"

#include <algorithm>
#include <cstring>

namespace cllm::model {

void Norm::forward(const Context& context, const Rows& rows) const {
  b_.branch ? add_and_norm(context, rows) : forward_again(context, rows);
}

void Norm::forward_again(const Context& context, const Rows& rows) const {
  const kernels::Kernels& k = context.kernels;
  const View sum = context[b_.sum].from(rows.first), y = context[b_.y].from(rows.first);
  float* const rstd = context[b_.rstd].row(rows.first);
  const float* const gain = context.parameter_or_null(t_.norm.gain);
  if (kind_ == NormKind::kLayer) {
    k.layernorm(sum.data, gain, context.parameter(*t_.norm.shift), y.data,
                context[*b_.mean].row(rows.first), rstd, rows.count, sum.columns);
  } else {
    k.rmsnorm(sum.data, sum.stride, gain, y.data, y.stride, rstd, epsilon_, rows.count, 1,
              sum.columns);
  }
}

void Norm::add_and_norm(const Context& context, const Rows& rows) const {
  const kernels::Kernels& k = context.kernels;
  const View x = context[b_.x].from(rows.first), y = context[b_.y].from(rows.first);
  const float* const branch = context[*b_.branch].row(rows.first);
  const float* const bias = context.parameter_or_null(t_.branch_bias);
  float* const sum = context[b_.sum].row(rows.first);
  float* const rstd = context[b_.rstd].row(rows.first);
  const float* const gain = context.parameter_or_null(t_.norm.gain);
  if (kind_ == NormKind::kLayer) {
    k.residual_layernorm(x.data, branch, bias, gain, context.parameter(*t_.norm.shift), sum, y.data,
                         context[*b_.mean].row(rows.first), rstd, rows.count, x.columns);
  } else {
    k.residual_rmsnorm(x.data, branch, bias, gain, sum, y.data, rstd, epsilon_, rows.count,
                       x.columns);
  }
}

void Norm::backward(const Context& context, const Rows& rows) const {
  kind_ == NormKind::kLayer ? layer_backward(context, rows) : rms_backward(context, rows);
}

void Norm::layer_backward(const Context& context, const Rows& rows) const {
  const kernels::Kernels& k = context.kernels;
  const View sum = context[b_.sum], dy = context[b_.dy], dsum = context[b_.dsum];
  const View mean = context[*b_.mean], rstd = context[b_.rstd];
  float* const dgain = begin_vector_sum(context, *t_.norm.gain, rows);
  float* const dshift = begin_vector_sum(context, *t_.norm.shift, rows);
  float* const dbias = begin_bias_sum(context, t_.branch_bias, rows);
  for_chunks(rows, [&](std::size_t first, std::size_t count) {
    const std::size_t size = count * dsum.columns;
    if (b_.dnext) {
      std::memcpy(dsum.row(first), context[*b_.dnext].row(first), size * sizeof(float));
    } else {
      std::fill_n(dsum.row(first), size, 0.0f);
    }
    k.layernorm_backward(dy.row(first), sum.row(first), mean.row(first), rstd.row(first),
                         context.parameter(*t_.norm.gain), dsum.row(first), dgain, dshift, count,
                         dsum.columns);
    if (dbias != nullptr) k.add_column_sums(dsum.row(first), dbias, count, dsum.columns);
  });
}

void Norm::rms_backward(const Context& context, const Rows& rows) const {
  const kernels::Kernels& k = context.kernels;
  const View sum = context[b_.sum], dy = context[b_.dy], dsum = context[b_.dsum];
  const View rstd = context[b_.rstd];
  float* const dgain = begin_vector_sum(context, t_.norm.gain, rows);
  float* const dbias = begin_bias_sum(context, t_.branch_bias, rows);
  for_chunks(rows, [&](std::size_t first, std::size_t count) {
    k.rmsnorm_backward(dy.row(first), dy.stride, sum.row(first), sum.stride, rstd.row(first),
                       context.parameter_or_null(t_.norm.gain),
                       b_.dnext ? context[*b_.dnext].row(first) : nullptr, dsum.row(first),
                       dsum.stride, dgain, count, 1, dsum.columns);
    if (dbias != nullptr) k.add_column_sums(dsum.row(first), dbias, count, dsum.columns);
  });
}

std::vector<std::size_t> Norm::vectors() const {
  std::vector<std::size_t> vectors;
  for (const auto& tensor : {t_.norm.gain, t_.norm.shift, t_.branch_bias}) {
    if (tensor) vectors.push_back(*tensor);
  }
  return vectors;
}

}  // namespace cllm::model
