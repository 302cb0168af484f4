#include "cllm/train/gradient_norm.h"

#include <algorithm>
#include <cmath>
#include <numeric>

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
      chunks.push_back({tile.tensor, tile.first_row + first, tile.first_row + end, chunks.size()});
    }
  }
}

std::vector<RowChunks::Chunk> RowChunks::of(const model::Layout& layout,
                                            bool (*has)(model::Role)) const {
  std::vector<Chunk> some;
  for (const Chunk& chunk : chunks) {
    if (has(layout[chunk.tensor].role)) some.push_back(chunk);
  }
  return some;
}

GradientNorm::GradientNorm(const RowChunks& rows, const kernels::Kernels& kernels, ThreadPool& pool)
    : rows_(rows),
      kernels_(kernels),
      pool_(pool),
      parts_(rows.chunks.size()),
      bits_(rows.rows.size()) {}

double GradientNorm::of(const SummedGradient& gradient) {
  pool_.share(rows_.chunks.size(), [&](std::size_t i, Recorder& recorder) {
    const Span span(recorder, Activity::kUpdate);
    double& sum = parts_[i] = 0;
    for (std::size_t row = rows_.chunks[i].first_row; row < rows_.chunks[i].end_row; ++row) {
      const SumRow& place = rows_.rows[row];
      if (gradient.floats != nullptr) {
        sum += kernels_.sum_of_squares(gradient.floats + place.at, place.size);
      } else {
        const double squares = gradient.integers->settle(place);
        bits_[row] = bits_of_row(squares, place.size);
        sum += std::ldexp(squares, -2 * gradient.exponents[row]);
      }
    }
  });
  return std::sqrt(std::accumulate(parts_.begin(), parts_.end(), 0.0));
}

}  // namespace cllm::train
