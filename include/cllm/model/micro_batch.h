#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "cllm/kernels/kernels.h"

namespace cllm::model {

/// Sequences that go through forward and backward together. Views; the tokens live elsewhere.
struct MicroBatch {
  const std::uint32_t* inputs;  ///< (sequences, positions)
  /// (sequences, positions): the token that follows each input, or kernels::kNoTarget.
  const std::uint32_t* targets;
  std::size_t sequences;
  std::size_t positions;  ///< at most the model's context
  /// Positions that went through before, of the one sequence: only their keys and values count.
  std::size_t past = 0;
  /// (sequences, positions): the position at which the document of each position begins. Attention
  /// looks no further back, and positions count from there. nullptr: each sequence is one document.
  const std::uint32_t* begins = nullptr;

  std::size_t rows() const { return sequences * positions; }
  /// Of a row, in its document.
  std::size_t position(std::size_t row) const {
    return row % positions - (begins == nullptr ? 0 : begins[row]);
  }
  /// How many targets count.
  std::size_t counted() const {
    const auto none = std::count(targets, targets + rows(), kernels::kNoTarget);
    return rows() - static_cast<std::size_t>(none);
  }
};

/// The size of the micro-batches that a workspace has room for.
struct MicroBatchShape {
  std::size_t sequences;
  std::size_t positions;
  /// Rows of a token block: what one thread of a team takes through the rows' work at a time.
  /// Products are of one block each, so that their shapes, and with them their bits, don't depend
  /// on the team.
  std::size_t token_block;

  std::size_t rows() const { return sequences * positions; }
  std::size_t blocks() const { return (rows() + token_block - 1) / token_block; }
};

}  // namespace cllm::model
