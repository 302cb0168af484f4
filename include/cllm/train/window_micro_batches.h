#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "cllm/base/aligned_buffer.h"
#include "cllm/data/document_rows.h"
#include "cllm/data/row_source.h"
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
    AlignedBuffer<std::uint32_t> begins;   ///< the same, where attention keeps to documents
  };

  /// `sequences` as in data::EvaluationWindows, whose errors it throws.
  WindowMicroBatches(data::TokenView tokens, std::size_t context, std::uint64_t sequences)
      : WindowMicroBatches(data::RowSource{tokens}, nullptr, context, sequences) {}
  /// The same of rows of documents, where there are `rows`: so many of them, evenly spaced.
  WindowMicroBatches(const data::RowSource& source, std::shared_ptr<const data::DocumentRows> rows,
                     std::size_t context, std::uint64_t sequences);

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
  data::Row row(std::size_t i) const;

  data::RowSource source_;
  std::shared_ptr<const data::DocumentRows> rows_;  // null: windows
  std::size_t context_;
  data::EvaluationWindows windows_;
  std::size_t size_;       // of windows or rows
  std::size_t full_size_;  // all but a shorter last window
};

}  // namespace cllm::train
