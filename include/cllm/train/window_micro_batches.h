#pragma once

#include <cstddef>
#include <cstdint>

#include "cllm/base/aligned_buffer.h"
#include "cllm/data/sampler.h"
#include "cllm/data/token_file.h"
#include "cllm/model/workspace.h"

namespace cllm::train {

/// The fixed windows of a text, in micro-batches that go through the model together: what is
/// computed is the same for any number of ranks and threads. Immutable, so thread-safe; the tokens
/// must outlive it.
class WindowMicroBatches {
 public:
  /// Room for the tokens of one micro-batch.
  struct Tokens {
    AlignedBuffer<std::uint32_t> inputs;   ///< (sequences, T)
    AlignedBuffer<std::uint32_t> targets;  ///< (sequences, T)
  };

  /// `sequences` as in data::EvaluationWindows, whose errors it throws.
  WindowMicroBatches(data::TokenView tokens, std::size_t context, std::uint64_t sequences);

  /// How many micro-batches there are.
  std::size_t size() const;
  /// Windows of micro-batch `micro_batch`, which all have the same length; the micro-batch is a
  /// view of `room`.
  model::MicroBatch read(std::size_t micro_batch, Tokens& room) const;
  Tokens make_room() const;
  /// The largest micro-batch.
  model::MicroBatchShape shape() const { return shape_of(context_); }
  static model::MicroBatchShape shape_of(std::size_t context);

 private:
  data::TokenView tokens_;
  std::size_t context_;
  data::EvaluationWindows windows_;
  std::size_t full_windows_;  // all but a shorter last one
};

}  // namespace cllm::train
