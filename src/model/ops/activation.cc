#include "cllm/model/ops/activation.h"

namespace cllm::model {

void Activation::forward(const Context& context, const Rows& rows) const {
  const kernels::Kernels& k = context.kernels;
  const View x = context[b_.x], y = context[b_.y];
  for_chunks(rows, [&](std::size_t first, std::size_t count) {
    float* const in = x.row(first);
    float* const out = y.row(first);
    if (bias_ && kind_ == MlpKind::kGelu) {
      k.bias_gelu(context.parameter(*bias_), in, out, count, x.columns);
      return;
    }
    if (bias_) k.add_bias(context.parameter(*bias_), in, count, x.columns);
    switch (kind_) {
      case MlpKind::kGelu:
        return k.gelu(in, out, count * x.columns);
      case MlpKind::kSwiglu:
        return k.swiglu(in, out, count, y.columns);
      case MlpKind::kRelu2:
        return k.relu2(in, out, count * x.columns);
    }
  });
}

void Activation::backward(const Context& context, const Rows& rows) const {
  const kernels::Kernels& k = context.kernels;
  const View x = context[b_.x], dy = context[b_.dy], dx = context[b_.dx];
  float* const sum = begin_bias_sum(context, bias_, rows);
  for_chunks(rows, [&](std::size_t first, std::size_t count) {
    const float* const in = x.row(first);
    const float* const dout = dy.row(first);
    float* const din = dx.row(first);
    switch (kind_) {
      case MlpKind::kGelu:
        k.gelu_backward(in, dout, din, count * x.columns);
        break;
      case MlpKind::kSwiglu:
        k.swiglu_backward(in, dout, din, count, dy.columns);
        break;
      case MlpKind::kRelu2:
        k.relu2_backward(in, dout, din, count * x.columns);
        break;
    }
    if (sum != nullptr) k.add_column_sums(din, sum, count, dx.columns);
  });
}

std::vector<std::size_t> Activation::vectors() const {
  if (!bias_) return {};
  return {*bias_};
}

}  // namespace cllm::model
