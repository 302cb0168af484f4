#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "cllm/data/sequences.h"

namespace cllm::train {

/// Reads the sequences of a batch. `sequences` must outlive it.
class BatchReader {
 public:
  explicit BatchReader(const data::Sequences& sequences)
      : sequences_(sequences), window_(sequences.context()) {}

  /// The inputs, targets and, where the sequences have them, begins (count, T) of sequences from
  /// `first` on. Thread-safe.
  void read(std::uint64_t first, std::size_t count, const data::RowView& out) const;

  /// How many of their targets count.
  std::uint64_t counted(std::uint64_t first, std::size_t count) const;

  /// Sets marks[token] to 1 for the inputs of these sequences. One thread at a time.
  void mark(std::uint64_t first, std::size_t count, std::span<std::int32_t> marks);

 private:
  const data::Sequences& sequences_;
  std::vector<std::uint32_t> window_;  // (T)
};

}  // namespace cllm::train
