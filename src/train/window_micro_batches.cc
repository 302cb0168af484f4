#include "cllm/train/window_micro_batches.h"

#include <algorithm>

namespace cllm::train {
namespace {

/// Positions of a micro-batch, so that BLAS has rows enough. A function of the context alone: what
/// is computed together must not depend on ranks and threads.
constexpr std::size_t kMicroBatchPositions = 256;

}  // namespace

model::MicroBatchShape WindowMicroBatches::shape_of(std::size_t context) {
  const std::size_t sequences = std::max<std::size_t>(1, kMicroBatchPositions / context);
  return {sequences, context, sequences * context};
}

WindowMicroBatches::WindowMicroBatches(const data::RowSource& source,
                                       std::shared_ptr<const data::DocumentRows> rows,
                                       std::size_t context, std::uint64_t sequences)
    : source_(source),
      rows_(std::move(rows)),
      context_(context),
      windows_(source.tokens.size(), context, sequences) {
  size_ = full_size_ = windows_.size();
  if (rows_) {
    const std::uint64_t all = rows_->size();
    size_ = full_size_ = sequences == 0 ? all : std::min(sequences, all);
  } else if (windows_[size_ - 1].targets < context) {
    --full_size_;
  }
}

std::size_t WindowMicroBatches::size() const {
  const std::size_t each = shape().sequences;
  return (full_size_ + each - 1) / each + (size_ - full_size_);
}

WindowMicroBatches::Tokens WindowMicroBatches::make_room() const {
  const std::size_t rows = shape().rows();
  return {.inputs = AlignedBuffer<std::uint32_t>(rows),
          .targets = AlignedBuffer<std::uint32_t>(rows),
          .begins = AlignedBuffer<std::uint32_t>(source_.documents.known() ? rows : 0)};
}

data::Row WindowMicroBatches::row(std::size_t i) const {
  if (!rows_) {
    const data::EvaluationWindow window = windows_[i];
    return {window.start, window.targets + 1};
  }
  // floor(i * all / size) without its overflow: all = q * size + r.
  const std::uint64_t all = rows_->size();
  return (*rows_)[i * (all / size_) + i * (all % size_) / size_];
}

model::MicroBatch WindowMicroBatches::read(std::size_t micro_batch, Tokens& room) const {
  const std::size_t each = shape().sequences;
  const std::size_t first = std::min(micro_batch * each, full_size_);
  const bool full = first < full_size_;
  const std::size_t last = full ? std::min(first + each, full_size_) : first + 1;
  const std::size_t positions = rows_ ? context_ : static_cast<std::size_t>(row(first).count - 1);
  std::uint32_t* const begins = room.begins.data();
  for (std::size_t i = first; i < last; ++i) {
    const std::size_t place = (i - first) * positions;
    source_.read(row(i), positions,
                 {.inputs = room.inputs.data() + place,
                  .targets = room.targets.data() + place,
                  .begins = begins == nullptr ? nullptr : begins + place});
  }
  return {room.inputs.data(), room.targets.data(), last - first, positions, 0, begins};
}

}  // namespace cllm::train
