#include "cllm/train/gradient_norm.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "cllm/model/places.h"
#include "cllm/train/row_exchange.h"
#include "cllm/train/scales.h"

namespace cllm::train {
namespace {

constexpr std::size_t kChunk = std::size_t{1} << 16;

}  // namespace

double clip_scale(double norm, double clip) { return clip > 0 && norm > clip ? clip / norm : 1.0; }

RowChunks::RowChunks(const model::Layout& layout) {
  const model::Tiling tiling(layout);
  rows = rows_of(layout, tiling);
  for (const model::Tile& tile : tiling.tiles()) {
    const std::size_t at_once = std::max(kChunk / tile.columns, std::size_t{1});
    for (std::size_t first = 0; first < tile.rows; first += at_once) {
      const std::size_t end = std::min(first + at_once, tile.rows);
      chunks.push_back({tile.tensor, tile.first_row + first, tile.first_row + end});
    }
  }
}

std::vector<RowChunks::Chunk> RowChunks::of(const model::Layout& layout, bool (*has)(model::Role),
                                            const Ownership& ownership) const {
  std::vector<Chunk> some;
  for (Chunk chunk : chunks) {
    if (!has(layout[chunk.tensor].role)) continue;
    const auto owned = [&](std::size_t row) { return ownership.owns(chunk.tensor, rows[row].at); };
    while (chunk.first_row < chunk.end_row && !owned(chunk.first_row)) ++chunk.first_row;
    while (chunk.first_row < chunk.end_row && !owned(chunk.end_row - 1)) --chunk.end_row;
    if (chunk.first_row < chunk.end_row) some.push_back(chunk);
  }
  return some;
}

GradientNorm::GradientNorm(const model::Layout& layout, const RowChunks& rows,
                           const kernels::Kernels& kernels, ThreadPool& pool,
                           const Ownership& ownership, RowExchange& exchange)
    : rows_(rows),
      kernels_(kernels),
      pool_(pool),
      exchange_(exchange),
      own_(rows.of(layout, model::every_role, ownership)),
      squares_(rows.rows.size()),
      parts_(rows.chunks.size()),
      bits_(rows.rows.size()) {}

double GradientNorm::of(const SummedGradient& gradient) {
  pool_.share(own_.size(), [&](std::size_t i, Recorder& recorder) {
    const Span span(recorder, Activity::kUpdate);
    for (std::size_t row = own_[i].first_row; row < own_[i].end_row; ++row) {
      const SumRow& place = rows_.rows[row];
      squares_[row] = gradient.floats != nullptr
                          ? kernels_.sum_of_squares(gradient.floats + place.at, place.size)
                          : gradient.integers->settle(place);
    }
  });
  exchange_.tell(squares_);
  pool_.share(rows_.chunks.size(), [&](std::size_t i, Recorder& recorder) {
    const Span span(recorder, Activity::kUpdate);
    double& sum = parts_[i] = 0;
    for (std::size_t row = rows_.chunks[i].first_row; row < rows_.chunks[i].end_row; ++row) {
      if (gradient.floats != nullptr) {
        sum += squares_[row];
      } else {
        bits_[row] = bits_of_row(squares_[row], rows_.rows[row].size);
        sum += std::ldexp(squares_[row], -2 * gradient.exponents[row]);
      }
    }
  });
  return std::sqrt(std::accumulate(parts_.begin(), parts_.end(), 0.0));
}

}  // namespace cllm::train
