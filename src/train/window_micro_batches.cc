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

WindowMicroBatches::WindowMicroBatches(data::TokenView tokens, std::size_t context,
                                       std::uint64_t sequences)
    : tokens_(tokens), context_(context), windows_(tokens.size(), context, sequences) {
  const bool short_last = windows_[windows_.size() - 1].targets < context;
  full_windows_ = windows_.size() - (short_last ? 1 : 0);
}

std::size_t WindowMicroBatches::size() const {
  const std::size_t each = shape().sequences;
  return (full_windows_ + each - 1) / each + (windows_.size() - full_windows_);
}

WindowMicroBatches::Tokens WindowMicroBatches::make_room() const {
  const std::size_t rows = shape().rows();
  return {.inputs = AlignedBuffer<std::uint32_t>(rows),
          .targets = AlignedBuffer<std::uint32_t>(rows)};
}

model::MicroBatch WindowMicroBatches::read(std::size_t micro_batch, Tokens& room) const {
  const std::size_t each = shape().sequences;
  const std::size_t first = std::min(micro_batch * each, full_windows_);
  const bool full = first < full_windows_;
  const std::size_t last = full ? std::min(first + each, full_windows_) : first + 1;
  const auto positions = static_cast<std::size_t>(windows_[first].targets);
  for (std::size_t i = first; i < last; ++i) {
    const std::size_t place = (i - first) * positions;
    const auto start = static_cast<std::size_t>(windows_[i].start);
    tokens_.copy(start, positions, room.inputs.data() + place);
    tokens_.copy(start + 1, positions, room.targets.data() + place);
  }
  return {room.inputs.data(), room.targets.data(), last - first, positions};
}

}  // namespace cllm::train
