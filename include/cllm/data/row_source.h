#pragma once

#include <cstddef>
#include <cstdint>

#include "cllm/data/sampler.h"
#include "cllm/data/token_file.h"
#include "cllm/data/token_marks.h"

namespace cllm::data {

/// A target that doesn't count; the same as kernels::kNoTarget.
inline constexpr std::uint32_t kUncounted = 0xFFFFFFFF;

/// Where a row is read to.
struct RowView {
  std::uint32_t* inputs;            ///< (T)
  std::uint32_t* targets;           ///< (T): kUncounted where a target doesn't count
  std::uint32_t* begins = nullptr;  ///< (T), where it is asked for: see model::MicroBatch
};

/// Tokens, and what is known of them. A view; reading is thread-safe.
struct RowSource {
  TokenView tokens;
  TokenMask mask = {};       ///< of targets
  Documents documents = {};  ///< known where attention keeps to a document

  /// The row with its inputs and targets, each `positions` long. Behind a shorter row come inputs
  /// of 0, whose targets don't count, and which are a document of their own.
  void read(const Row& row, std::size_t positions, const RowView& out) const;
  /// Its inputs alone.
  void read_inputs(const Row& row, std::size_t positions, std::uint32_t* inputs) const;
  /// How many of its targets count.
  std::uint64_t counted(const Row& row) const;
};

}  // namespace cllm::data
