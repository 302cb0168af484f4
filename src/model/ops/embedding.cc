#include "cllm/model/ops/embedding.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "cllm/kernels/blas.h"

namespace cllm::model {
namespace {

using kernels::sgemm;
using enum kernels::Transpose;

/// All rows that go through.
Rows rows_of(const MicroBatch& batch) { return {batch.past, batch.rows() - batch.past, 0}; }

/// Calls visit(row, slot) for those of the rows whose token is in the band; returns their slots.
/// Note [Rows by bands].
template <typename Visit>
Rows for_band(const MicroBatch& batch, const TableBand& band, const Rows& rows,
              const Visit& visit) {
  std::size_t slot = batch.past;
  for (std::size_t row = batch.past; row < batch.rows(); ++row) {
    const std::uint32_t token = batch.inputs[row];
    if (token < band.first_row || (row < rows.first && band.has(token))) ++slot;
  }
  const std::size_t first = slot;
  for (std::size_t row = rows.first; row < rows.first + rows.count; ++row) {
    if (band.has(batch.inputs[row])) visit(row, slot++);
  }
  return {first, slot - first, rows.block};
}

/// The first row of a range of the vocabulary. Where rows are in the order of frequency ranges
/// grow, so that each has some of what a text is made of. What is summed doesn't depend on them.
std::uint64_t first_of_range(const ModelConfig& config, std::size_t range) {
  if (!config.has_bands()) return config.vocabulary * range / kTokenRanges;
  constexpr std::size_t kAll = kTokenRanges * kTokenRanges * kTokenRanges;
  return config.vocabulary * (range * range * range) / kAll;
}

}  // namespace

Embedding::BandRows Embedding::band_rows(const MicroBatch& batch, std::size_t index) const {
  const TableBand& band = t_.bands[index];
  const Rows slots = for_band(batch, band, rows_of(batch), [](std::size_t, std::size_t) {});
  return {slots.first, slots.count, b_.dbanded, band.basis ? *b_.dcodes : b_.dbanded};
}

void Embedding::forward(const Context& context, const Rows& rows) const {
  const MicroBatch& batch = context.micro_batch;
  const View x = context[b_.x], banded = context[b_.banded];
  for (const TableBand& band : t_.bands) {
    const ConstView table = context.matrix(band.tensor);
    const View found = band.basis ? context[*b_.codes] : x;
    const Rows slots = for_band(batch, band, rows, [&](std::size_t row, std::size_t slot) {
      std::memcpy(found.row(band.basis ? slot : row), table.row(batch.inputs[row] - band.first_row),
                  table.columns * sizeof(float));
    });
    if (!band.basis || slots.count == 0) continue;
    {
      const Span span(context.member.recorder, Activity::kMatrix);
      const ConstView basis = context.matrix(*band.basis);
      sgemm(kNo, kNo, slots.count, basis.columns, table.columns, 1.0f, found.row(slots.first),
            found.stride, basis.data, basis.stride, 0.0f, banded.row(slots.first), banded.stride);
    }
    if (b_.banded == b_.x) continue;
    for_band(batch, band, rows, [&](std::size_t row, std::size_t slot) {
      std::memcpy(x.row(row), banded.row(slot), x.columns * sizeof(float));
    });
  }
  if (!t_.positions) return;
  const ConstView positions = context.matrix(*t_.positions);
  for (std::size_t row = rows.first; row < rows.first + rows.count; ++row) {
    context.kernels.add(positions.row(batch.position(row)), x.row(row), x.columns);
  }
}

void Embedding::backward(const Context& context, const Rows& rows) const {
  const View dx = context[b_.dx], dbanded = context[b_.dbanded];
  for (const TableBand& band : t_.bands) {
    const Rows slots =
        for_band(context.micro_batch, band, rows, [&](std::size_t row, std::size_t slot) {
          if (b_.dbanded == b_.dx) return;
          std::memcpy(dbanded.row(slot), dx.row(row), dx.columns * sizeof(float));
        });
    if (!band.basis || slots.count == 0) continue;
    const Span span(context.member.recorder, Activity::kMatrix);
    const ConstView basis = context.matrix(*band.basis);
    const View dcodes = row_gradient(context, band);
    sgemm(kNo, kYes, slots.count, dcodes.columns, basis.columns, 1.0f, dbanded.row(slots.first),
          dbanded.stride, basis.data, basis.stride, 0.0f, dcodes.row(slots.first), dcodes.stride);
  }
}

View Embedding::row_gradient(const Context& context, const TableBand& band) const {
  return context[band.basis ? *b_.dcodes : b_.dbanded].columns_from(
      0, context.layout[band.tensor].columns);
}

void Embedding::sort_tokens(const Context& context) const {
  const MicroBatch& batch = context.micro_batch;
  std::uint64_t* const order = context.workspace.token_order;
  std::uint64_t* end = order;
  for (const TableBand& band : t_.bands) {
    for_band(batch, band, rows_of(batch), [&](std::size_t row, std::size_t slot) {
      *end++ = std::uint64_t{batch.inputs[row]} << 32 | slot;
    });
  }
  std::sort(order, end);
}

void Embedding::give_weights(const Context& context, GradientSink& sink) const {
  give_tokens(context, sink);
  for (std::size_t band = 0; band < t_.bands.size(); ++band) {
    if (t_.bands[band].basis) give_basis(context, band, sink);
  }
  if (t_.positions) give_positions(context, sink);
}

void Embedding::give_tokens(const Context& context, GradientSink& sink) const {
  const ModelConfig& config = context.layout.config();
  // A token's slots follow each other, in order.
  const std::uint64_t* const begin = context.workspace.token_order;
  const std::uint64_t* const end = begin + context.micro_batch.rows();
  for (std::size_t range = 0; range < kTokenRanges; ++range) {
    if (!context.member.takes(range)) continue;
    const auto bound = [&](std::size_t part) { return first_of_range(config, part) << 32; };
    sink.begin_tokens(range, context.member.recorder);
    const std::uint64_t* entry = std::lower_bound(begin, end, bound(range));
    while (entry != end && *entry < bound(range + 1)) {
      const auto token = static_cast<std::uint32_t>(*entry >> 32);
      const View drows = row_gradient(context, context.layout.band_of(token));
      const auto row_of = [&](std::uint64_t of) { return drows.row(of & 0xffffffff); };
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

void Embedding::give_basis(const Context& context, std::size_t index, GradientSink& sink) const {
  const TableBand& band = t_.bands[index];
  const Tiling& tiling = context.tiling;
  const Member& me = context.member;
  float* const values = context.scratch.tile;
  const BandRows rows = band_rows(context.micro_batch, index);
  for (std::size_t i = tiling.first_of(*band.basis); i < tiling.end_of(*band.basis); ++i) {
    if (!me.takes(i)) continue;
    const Tile& tile = tiling[i];
    const auto add_product = [&](const View& dy, const View& x, std::size_t count, float beta) {
      const Span span(me.recorder, Activity::kMatrix);
      sgemm(kYes, kNo, tile.rows, tile.columns, count, 1.0f, dy.data + tile.row, dy.stride,
            x.data + tile.column, x.stride, beta, values, tile.columns);
    };
    float beta = 0.0f;
    if (b_.head_x) {
      add_product(context[*b_.dprojected[index]], context[*b_.head_x], context.rows(), beta);
      beta = 1.0f;
    } else if (rows.count == 0) {
      std::fill_n(values, tile.rows * tile.columns, 0.0f);
    }
    if (rows.count > 0) {
      add_product(context[*b_.codes].from(rows.first), context[b_.dbanded].from(rows.first),
                  rows.count, beta);
    }
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
