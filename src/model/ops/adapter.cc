#include "cllm/model/ops/adapter.h"

#include "cllm/kernels/blas.h"
#include "cllm/model/ops/linear.h"

namespace cllm::model {
namespace {

using kernels::sgemm;
using enum kernels::Transpose;

ConstView read_only(const View& view) { return {view.data, view.columns, view.stride}; }

/// y (rows, out) = beta y + alpha x (rows, in) · weight, or its transpose.
void multiply(const View& x, const ConstView& weight, kernels::Transpose transpose, float alpha,
              float beta, const View& y, std::size_t rows) {
  sgemm(kNo, transpose, rows, y.columns, x.columns, alpha, x.data, x.stride, weight.data,
        weight.stride, beta, y.data, y.stride);
}

}  // namespace

void Adapter::forward(const Context& context, const Rows& rows) const {
  const Span span(context.member.recorder, Activity::kMatrix);
  const View low = context[b_.low].from(rows.first);
  multiply(context[b_.x].from(rows.first), context.matrix(t_.a), kYes, scale_, 0.0f, low,
           rows.count);
  multiply(low, context.matrix(t_.b), kYes, 1.0f, 1.0f, part_of(context[b_.y]).from(rows.first),
           rows.count);
}

void Adapter::backward(const Context& context, const Rows& rows) const {
  const Span span(context.member.recorder, Activity::kMatrix);
  const View dlow = context[b_.dlow].from(rows.first);
  multiply(part_of(context[b_.dy]).from(rows.first), context.matrix(t_.b), kNo, scale_, 0.0f, dlow,
           rows.count);
  multiply(dlow, context.matrix(t_.a), kNo, 1.0f, 1.0f, context[b_.dx].from(rows.first),
           rows.count);
}

void Adapter::add_matrices(std::vector<MatrixInput>& matrices) const {
  matrices.push_back({t_.a, b_.x});
  matrices.push_back({t_.b, b_.low});
}

void Adapter::give_weights(const Context& context, GradientSink& sink) const {
  give_product(context, Activity::kMatrix, read_only(context[b_.dlow]), read_only(context[b_.x]),
               context.rows(), t_.a, 0, sink);
  give_product(context, Activity::kMatrix, read_only(part_of(context[b_.dy])),
               read_only(context[b_.low]), context.rows(), t_.b, 0, sink);
}

}  // namespace cllm::model
