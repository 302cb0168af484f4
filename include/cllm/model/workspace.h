#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "cllm/base/aligned_buffer.h"
#include "cllm/model/activations.h"
#include "cllm/model/config.h"
#include "cllm/model/micro_batch.h"
#include "cllm/model/view.h"

namespace cllm::model {

struct Network;

/// Note [Computing again]
///
/// Of the lowest layers that backward goes through, what it reads may be computed again in place of
/// kept: of each, the residual stream is kept, and the others lie in two sets of buffers that
/// layers use in turn. Two, because some members of a team still compute weight
/// gradients of a layer while others are in the one below. After forward, the sets hold what the
/// two uppermost of these layers left, so that N layers fewer are kept where N are computed again
/// (Chen et al., "Training Deep Nets with Sublinear Memory Cost", arXiv 1604.06174, 2016). Bits
/// don't change: it is the same arithmetic.

/// What a team needs to take micro-batches through the model, allocated once. Belongs to one team.
class Workspace {
 public:
  /// `recomputed`: of so many layers, backward computes activations again. Throws std::bad_alloc.
  Workspace(const Network& network, const MicroBatchShape& shape, Purpose purpose,
            std::size_t recomputed = 0);

  std::size_t rows() const { return shape_.rows(); }
  std::size_t token_block() const { return shape_.token_block; }
  Purpose purpose() const { return purpose_; }
  /// Whether backward finds activations of the layer only if it computes them again.
  bool recomputes(std::size_t layer) const { return layer < recompute_end_; }
  /// Rows of the head that are taken at a time, so that logits stay bounded whatever V and R are.
  std::size_t head_rows() const { return head_rows_; }
  /// Rows of them that one thread of a team takes: a pass has as many blocks as a micro-batch.
  std::size_t head_block() const;
  /// How many passes that is for a micro-batch of `rows` in a workspace for `most_rows`.
  static std::size_t head_passes(std::size_t vocabulary, std::size_t most_rows, std::size_t rows);
  /// Bytes that a workspace of these arguments allocates.
  static std::size_t bytes_for(const Network& network, const MicroBatchShape& shape,
                               Purpose purpose, std::size_t recomputed = 0);
  /// The most that `recomputed` may be: Note [Computing again].
  static std::size_t most_recomputed(const Network& network);

  /// (rows, columns) of a buffer. Buffers of another purpose have no memory.
  View operator[](Buffer buffer) const { return views_[buffer]; }
  /// (rows) of a buffer that lies by columns, such as a number for each head.
  float* column(Buffer buffer, std::size_t index) const {
    return views_[buffer].data + index * rows();
  }
  /// A block's sum for the gradient of a vector such as a bias.
  float* vector_sum(std::size_t tensor, std::size_t block) const {
    const VectorSums& sums = vectors_[tensor];
    return sums.first + block * sums.size;
  }

  float* logits;               ///< (head_rows, V)
  float* losses;               ///< (R)
  std::uint64_t* token_order;  ///< (R): token << 32 | row of the micro-batch, ascending

 private:
  struct VectorSums {
    float* first;  ///< (blocks, size)
    std::size_t size;
  };

  Workspace() = default;
  /// Points every view into `base`, or to nothing where it is null; returns the floats needed.
  std::size_t place(const Network& network, float* base);

  AlignedBuffer<float> buffer_;
  AlignedBuffer<std::uint64_t> order_;
  MicroBatchShape shape_{};
  Purpose purpose_ = Purpose::kTraining;
  std::size_t head_rows_ = 0;
  std::size_t recompute_end_ = 0;  // of the layers that backward goes through
  std::vector<View> views_;
  std::vector<VectorSums> vectors_;  // by tensor
};

/// What each thread of a team needs for itself, allocated once.
class Scratch {
 public:
  /// `tile`: floats of the largest gradient tile, 0 where there is no backward pass. Throws
  /// std::bad_alloc.
  Scratch(const ModelConfig& config, std::size_t tile);

  static std::size_t bytes_for(const ModelConfig& config, std::size_t tile);

  float* attention;  ///< kernels::attention_workspace of one head
  float* tile;       ///< one gradient tile

 private:
  Scratch() = default;
  std::size_t place(const ModelConfig& config, std::size_t tile_floats, float* base);

  AlignedBuffer<float> buffer_;
};

}  // namespace cllm::model
