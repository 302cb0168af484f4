#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "cllm/base/aligned_buffer.h"
#include "cllm/ranks/process_group.h"
#include "cllm/train/gradient_norm.h"
#include "cllm/train/ownership.h"

namespace cllm::train {

/// Gives all ranks what the owners of rows found out about them: a number for each. Nothing to do
/// without shards. Allocates nothing after construction.
class RowExchange {
 public:
  /// The references must outlive it.
  RowExchange(const RowChunks& rows, const Ownership& ownership,
              ranks::ProcessGroup& process_group);

  /// In place; `values` has one for each row, by its number. All ranks call it alike.
  void tell(std::span<double> values);

 private:
  ranks::ProcessGroup& process_group_;
  // Rows by their owners, how many each has (in floats), and their numbers' bytes; none without
  // shards.
  std::vector<std::uint32_t> by_owner_;
  std::vector<ranks::Part> of_ranks_;
  AlignedBuffer<float> told_;
};

}  // namespace cllm::train
