#include "cllm/train/row_exchange.h"

#include <cstddef>
#include <cstring>

namespace cllm::train {
namespace {

/// Doubles travel as the floats that their bytes make up.
constexpr std::size_t kFloatsOfDouble = sizeof(double) / sizeof(float);

}  // namespace

RowExchange::RowExchange(const RowChunks& rows, const Ownership& ownership,
                         ranks::ProcessGroup& process_group)
    : process_group_(process_group) {
  for (std::size_t rank = 0; rank < ownership.ranks(); ++rank) {
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
  told_ = AlignedBuffer<float>(by_owner_.size() * kFloatsOfDouble);
}

void RowExchange::tell(std::span<double> values) {
  if (of_ranks_.empty()) return;
  const auto bytes_of = [&](std::size_t i) { return told_.data() + i * kFloatsOfDouble; };
  const ranks::Part& mine = of_ranks_[static_cast<std::size_t>(process_group_.rank())];
  const std::size_t first = mine.offset / kFloatsOfDouble;
  for (std::size_t i = first; i < first + mine.size / kFloatsOfDouble; ++i) {
    std::memcpy(bytes_of(i), &values[by_owner_[i]], sizeof(double));
  }
  process_group_.all_gather(told_.span(), of_ranks_);
  for (std::size_t i = 0; i < by_owner_.size(); ++i) {
    std::memcpy(&values[by_owner_[i]], bytes_of(i), sizeof(double));
  }
}

}  // namespace cllm::train
