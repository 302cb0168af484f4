#include "cllm/model/ops/embedding.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "cllm/kernels/blas.h"
#include "cllm/model/ops/linear.h"

namespace cllm::model {

void Embedding::forward(const Context& context, const Rows& rows) const {
  const MicroBatch& batch = context.micro_batch;
  const ConstView tokens = context.matrix(t_.tokens);
  const View found = context[b_.codes.value_or(b_.x)], x = context[b_.x];
  for (std::size_t row = rows.first; row < rows.first + rows.count; ++row) {
    std::memcpy(found.row(row), tokens.row(batch.inputs[row]), tokens.columns * sizeof(float));
  }
  if (t_.basis) multiply_back(context, *b_.codes, *t_.basis, b_.x, rows);
  if (!t_.positions) return;
  const ConstView positions = context.matrix(*t_.positions);
  for (std::size_t row = rows.first; row < rows.first + rows.count; ++row) {
    context.kernels.add(positions.row(batch.position(row)), x.row(row), x.columns);
  }
}

void Embedding::backward(const Context& context, const Rows& rows) const {
  if (t_.basis) multiply(context, b_.dx, *t_.basis, b_.drows, rows);
}

void Embedding::sort_tokens(const Context& context) const {
  const MicroBatch& batch = context.micro_batch;
  std::uint64_t* const order = context.workspace.token_order;
  for (std::size_t row = 0; row < batch.rows(); ++row) {
    order[row] = std::uint64_t{batch.inputs[row]} << 32 | row;
  }
  std::sort(order, order + batch.rows());
}

void Embedding::give_weights(const Context& context, GradientSink& sink) const {
  give_tokens(context, sink);
  if (t_.basis) give_basis(context, sink);
  if (t_.positions) give_positions(context, sink);
}

void Embedding::give_tokens(const Context& context, GradientSink& sink) const {
  const std::size_t vocabulary = context.layout[t_.tokens].rows;
  const View drows = context[b_.drows];
  // A token's positions follow each other, in order.
  const std::uint64_t* const begin = context.workspace.token_order;
  const std::uint64_t* const end = begin + context.micro_batch.rows();
  const auto row_of = [&](std::uint64_t entry) { return drows.row(entry & 0xffffffff); };
  for (std::size_t range = 0; range < kTokenRanges; ++range) {
    if (!context.member.takes(range)) continue;
    const auto bound = [&](std::size_t part) {
      return std::uint64_t{vocabulary * part / kTokenRanges} << 32;
    };
    sink.begin_tokens(range, context.member.recorder);
    const std::uint64_t* entry = std::lower_bound(begin, end, bound(range));
    while (entry != end && *entry < bound(range + 1)) {
      const auto token = static_cast<std::uint32_t>(*entry >> 32);
      const float* row = row_of(*entry);
      if (++entry != end && *entry >> 32 == token) {
        float* const sum = context.scratch.tile;
        std::memcpy(sum, row, drows.columns * sizeof(float));
        row = sum;
        for (; entry != end && *entry >> 32 == token; ++entry) {
          context.kernels.add(row_of(*entry), sum, drows.columns);
        }
      }
      sink.add_token(token, row);
    }
    sink.end_tokens(range);
  }
}

void Embedding::give_basis(const Context& context, GradientSink& sink) const {
  const Tiling& tiling = context.tiling;
  const Member& me = context.member;
  float* const values = context.scratch.tile;
  for (std::size_t i = tiling.first_of(*t_.basis); i < tiling.end_of(*t_.basis); ++i) {
    if (!me.takes(i)) continue;
    const Tile& tile = tiling[i];
    const auto add_product = [&](const View& dy, const View& x, float beta) {
      const Span span(me.recorder, Activity::kMatrix);
      kernels::sgemm(kernels::Transpose::kYes, kernels::Transpose::kNo, tile.rows, tile.columns,
                     context.rows(), 1.0f, dy.data + tile.row, dy.stride, x.data + tile.column,
                     x.stride, beta, values, tile.columns);
    };
    add_product(context[*b_.dprojected], context[*b_.head_x], 0.0f);
    add_product(context[*b_.codes], context[b_.dx], 1.0f);
    sink.add(i, 0, values, tile.columns, me.recorder);
  }
}

void Embedding::give_positions(const Context& context, GradientSink& sink) const {
  const MicroBatch& batch = context.micro_batch;
  const View dx = context[b_.dx];
  const Tiling& tiling = context.tiling;
  for (std::size_t i = tiling.first_of(*t_.positions); i < tiling.end_of(*t_.positions); ++i) {
    if (!context.member.takes(i)) continue;
    const Tile& tile = tiling[i];
    std::fill_n(context.scratch.tile, tile.rows * tile.columns, 0.0f);
    for (std::size_t row = 0; row < batch.rows(); ++row) {
      const std::size_t position = batch.position(row);
      if (position < tile.row || position >= tile.row + tile.rows) continue;
      context.kernels.add(dx.row(row) + tile.column,
                          context.scratch.tile + (position - tile.row) * tile.columns,
                          tile.columns);
    }
    sink.add(i, 0, context.scratch.tile, tile.columns, context.member.recorder);
  }
}

}  // namespace cllm::model
