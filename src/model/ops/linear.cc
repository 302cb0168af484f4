#include "cllm/model/ops/linear.h"

#include "cllm/kernels/blas.h"

namespace cllm::model {

using kernels::sgemm;
using enum kernels::Transpose;

void multiply(const Context& context, Buffer x, std::size_t weight, Buffer y, const Rows& rows) {
  const Span span(context.member.recorder, Activity::kMatrix);
  const ConstView w = context.matrix(weight);
  const View in = context[x].from(rows.first), out = context[y].from(rows.first);
  context.multiply({in.data, in.columns, in.stride}, rows.count, w, out.columns, out.data,
                   out.stride);
}

void multiply_back(const Context& context, Buffer y, std::size_t weight, Buffer x, const Rows& rows,
                   float beta) {
  const Span span(context.member.recorder, Activity::kMatrix);
  const ConstView w = context.matrix(weight);
  const View in = context[y].from(rows.first), out = context[x].from(rows.first);
  sgemm(kNo, kNo, rows.count, out.columns, in.columns, 1.0f, in.data, in.stride, w.data, w.stride,
        beta, out.data, out.stride);
}

void give_product(const Context& context, Activity activity, ConstView dy, ConstView x,
                  std::size_t count, std::size_t weight, std::size_t pass, GradientSink& sink) {
  const Tiling& tiling = context.tiling;
  float* const values = context.scratch.tile;
  for (std::size_t i = tiling.first_of(weight); i < tiling.end_of(weight); ++i) {
    if (!context.member.takes(i)) continue;
    const Tile& tile = tiling[i];
    {
      const Span span(context.member.recorder, activity);
      sgemm(kYes, kNo, tile.rows, tile.columns, count, 1.0f, dy.data + tile.row, dy.stride,
            x.data + tile.column, x.stride, 0.0f, values, tile.columns);
    }
    sink.add(i, pass, values, tile.columns, context.member.recorder);
  }
}

void Linear::forward(const Context& context, const Rows& rows) const {
  multiply(context, b_.x, weight_, b_.y, rows);
  for (const Adapter& adapter : adapters_) adapter.forward(context, rows);
  if (!bias_) return;
  const View y = context[b_.y].from(rows.first);
  context.kernels.add_bias(context.parameter(*bias_), y.data, rows.count, y.columns);
}

void Linear::forward_again(const Context& context, const Rows& rows) const {
  // Of what adapters made, backward reads more than y.
  if (b_.y_is_kept || !adapters_.empty()) forward(context, rows);
}

void Linear::backward(const Context& context, const Rows& rows) const {
  multiply_back(context, b_.dy, weight_, b_.dx, rows);
  for (const Adapter& adapter : adapters_) adapter.backward(context, rows);
  float* const sum = begin_bias_sum(context, bias_, rows);
  if (sum == nullptr) return;
  const View dy = context[b_.dy];
  for_chunks(rows, [&](std::size_t first, std::size_t count) {
    context.kernels.add_column_sums(dy.row(first), sum, count, dy.columns);
  });
}

std::vector<std::size_t> Linear::vectors() const {
  if (!bias_) return {};
  return {*bias_};
}

void Linear::give_weights(const Context& context, GradientSink& sink) const {
  const View dy = context[b_.dy], x = context[b_.x];
  give_product(context, Activity::kMatrix, {dy.data, dy.columns, dy.stride},
               {x.data, x.columns, x.stride}, context.rows(), weight_, 0, sink);
  for (const Adapter& adapter : adapters_) adapter.give_weights(context, sink);
}

std::vector<MatrixInput> Linear::matrices() const {
  std::vector<MatrixInput> matrices = {{weight_, b_.x}};
  for (const Adapter& adapter : adapters_) adapter.add_matrices(matrices);
  return matrices;
}

}  // namespace cllm::model
