#include "cllm/train/gradient_norm.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "cllm/model/places.h"
#include "cllm/train/scales.h"

namespace cllm::train {
namespace {

constexpr std::size_t kChunk = std::size_t{1} << 16;

/// Doubles travel as the floats that their bytes make up.
constexpr std::size_t kFloatsOfDouble = sizeof(double) / sizeof(float);

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

GradientNorm::GradientNorm(const RowChunks& rows, const kernels::Kernels& kernels, ThreadPool& pool,
                           const Ownership& ownership, const model::Layout& layout,
                           ranks::ProcessGroup& process_group)
    : rows_(rows),
      kernels_(kernels),
      pool_(pool),
      process_group_(process_group),
      own_(rows.of(layout, model::every_role, ownership)),
      squares_(rows.rows.size()),
      parts_(rows.chunks.size()),
      bits_(rows.rows.size()) {
  if (!ownership.is_sharded()) return;
  told_ = AlignedBuffer<float>(rows.rows.size() * kFloatsOfDouble);
  for (std::size_t rank = 0; rank < static_cast<std::size_t>(process_group.size()); ++rank) {
    const std::size_t before = by_owner_.size();
    for (const RowChunks::Chunk& chunk : rows.chunks) {
      const ranks::Part part = ownership.of(rank, chunk.tensor);
      for (std::size_t row = chunk.first_row; row < chunk.end_row; ++row) {
        const std::size_t at = rows.rows[row].at;
        if (at < part.offset || at - part.offset >= part.size) continue;
        by_owner_.push_back(static_cast<std::uint32_t>(row));
      }
    }
    of_ranks_.push_back({before * kFloatsOfDouble, (by_owner_.size() - before) * kFloatsOfDouble});
  }
}

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
  if (!of_ranks_.empty()) tell_squares();
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

void GradientNorm::tell_squares() {
  const auto bytes_of = [&](std::size_t i) { return told_.data() + i * kFloatsOfDouble; };
  const ranks::Part& mine = of_ranks_[static_cast<std::size_t>(process_group_.rank())];
  const std::size_t first = mine.offset / kFloatsOfDouble;
  for (std::size_t i = first; i < first + mine.size / kFloatsOfDouble; ++i) {
    std::memcpy(bytes_of(i), &squares_[by_owner_[i]], sizeof(double));
  }
  process_group_.all_gather(told_.span(), of_ranks_);
  for (std::size_t i = 0; i < by_owner_.size(); ++i) {
    std::memcpy(&squares_[by_owner_[i]], bytes_of(i), sizeof(double));
  }
}

}  // namespace cllm::train
