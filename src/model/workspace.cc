#include "cllm/model/workspace.h"

#include <algorithm>

#include "cllm/kernels/attention.h"
#include "cllm/model/network.h"

namespace cllm::model {
namespace {

/// Floats of logits that a workspace holds at most: as many rows as make BLAS fast, small beside
/// the activations of a model with that vocabulary.
constexpr std::size_t kLogitFloats = std::size_t{32} << 20;

/// The micro-batch's rows in passes of equal size, as few as memory allows.
std::size_t rows_of_head(std::size_t rows, std::size_t vocabulary) {
  const std::size_t fitting = std::max<std::size_t>(kLogitFloats / vocabulary / 32 * 32, 32);
  const std::size_t passes = (rows + fitting - 1) / fitting;
  return std::min(rows, ((rows + passes - 1) / passes + 31) / 32 * 32);
}

/// Rows of logits. Of generated tokens only the last's are asked for.
std::size_t rows_of_logits(const MicroBatchShape& shape, std::size_t vocabulary, Purpose purpose) {
  return purpose == Purpose::kGeneration ? 1 : rows_of_head(shape.rows(), vocabulary);
}

/// The buffer whose memory it has: its own, or that of one that was declared before.
Buffer owner_of(Buffer index, const Activations::Declared& buffer, Purpose purpose,
                std::size_t first_back, std::size_t recompute_end) {
  using Kept = Activations::Kept;
  if (purpose != Purpose::kTraining) {
    const bool is_cache = buffer.kept == Kept::kKeysValues && purpose == Purpose::kGeneration;
    return is_cache ? index : buffer.shared;
  }
  if (buffer.kept == Kept::kGradient) return index;
  if (buffer.layer < first_back) return buffer.shared;
  const bool is_again = buffer.kept == Kept::kForBackward || buffer.kept == Kept::kKeysValues;
  // The two layers above those that are computed again use the same buffers.
  const bool takes_turns =
      is_again && buffer.layer >= first_back + 2 && buffer.layer < recompute_end + 2;
  return takes_turns && recompute_end > first_back ? buffer.in_turn : index;
}

/// Hands out aligned pieces of a buffer: first counts them, then places them.
class Carver {
 public:
  explicit Carver(float* base) : base_(base) {}
  float* take(std::size_t size) {
    float* piece = base_ == nullptr ? nullptr : base_ + used_;
    used_ += (size + 15) / 16 * 16;
    return piece;
  }
  std::size_t used() const { return used_; }

 private:
  float* base_;
  std::size_t used_ = 0;
};

}  // namespace

Workspace::Workspace(const Network& network, const MicroBatchShape& shape, Purpose purpose,
                     std::size_t recomputed)
    : shape_(shape),
      purpose_(purpose),
      head_rows_(rows_of_logits(shape, network.layout.config().vocabulary, purpose)),
      recompute_end_(network.first_back + recomputed) {
  buffer_ = AlignedBuffer<float>(place(network, nullptr));
  place(network, buffer_.data());
  if (purpose == Purpose::kTraining) order_ = AlignedBuffer<std::uint64_t>(shape.rows());
  token_order = order_.data();
}

std::size_t Workspace::head_passes(std::size_t vocabulary, std::size_t most_rows,
                                   std::size_t rows) {
  const std::size_t each = rows_of_head(most_rows, vocabulary);
  return (rows + each - 1) / each;
}

std::size_t Workspace::head_block() const {
  const std::size_t blocks = shape_.blocks();
  return ((head_rows_ + blocks - 1) / blocks + 15) / 16 * 16;
}

std::size_t Workspace::most_recomputed(const Network& network) {
  const std::size_t layers = network.layers.size() - network.first_back;
  return layers < 2 ? 0 : layers - 2;
}

std::size_t Workspace::bytes_for(const Network& network, const MicroBatchShape& shape,
                                 Purpose purpose, std::size_t recomputed) {
  Workspace sketch;
  sketch.shape_ = shape;
  sketch.purpose_ = purpose;
  sketch.recompute_end_ = network.first_back + recomputed;
  sketch.head_rows_ = rows_of_logits(shape, network.layout.config().vocabulary, purpose);
  const std::size_t order =
      purpose == Purpose::kTraining ? shape.rows() * sizeof(std::uint64_t) : 0;
  return sketch.place(network, nullptr) * sizeof(float) + order;
}

std::size_t Workspace::place(const Network& network, float* base) {
  const std::size_t r = rows();
  Carver carve(base);
  views_.clear();
  for (const Activations::Declared& buffer : network.activations.buffers()) {
    View view{nullptr, buffer.columns, buffer.columns};
    const Buffer owner =
        owner_of(views_.size(), buffer, purpose_, network.first_back, recompute_end_);
    if (owner < views_.size()) {
      view.data = views_[owner].data;
    } else if (buffer.kept != Activations::Kept::kGradient || purpose_ == Purpose::kTraining) {
      view.data = carve.take(r * buffer.columns);
    }
    views_.push_back(view);
  }
  const std::span<const Tensor> tensors = network.layout.tensors();
  vectors_.assign(tensors.size(), {});
  for (std::size_t i = 0; i < tensors.size() && purpose_ == Purpose::kTraining; ++i) {
    // Also of those that aren't trained: see begin_vector_sum.
    if (tensors[i].is_matrix()) continue;
    const std::size_t size = tensors[i].size();
    vectors_[i] = {carve.take(shape_.blocks() * size), size};
  }
  logits = carve.take(head_rows_ * network.layout.config().vocabulary);
  losses = carve.take(r);
  return carve.used();
}

Scratch::Scratch(const ModelConfig& config, std::size_t tile_floats) {
  buffer_ = AlignedBuffer<float>(place(config, tile_floats, nullptr));
  place(config, tile_floats, buffer_.data());
}

std::size_t Scratch::bytes_for(const ModelConfig& config, std::size_t tile_floats) {
  return Scratch().place(config, tile_floats, nullptr) * sizeof(float);
}

std::size_t Scratch::place(const ModelConfig& config, std::size_t tile_floats, float* base) {
  Carver carve(base);
  attention = carve.take(kernels::attention_workspace(config.head_size, config.context));
  tile = carve.take(tile_floats);
  return carve.used();
}

}  // namespace cllm::model
