#pragma once

#include <algorithm>
#include <cstddef>

#include "cllm/base/team.h"
#include "cllm/kernels/kernels.h"
#include "cllm/model/attention_head.h"
#include "cllm/model/gradient.h"
#include "cllm/model/layout.h"
#include "cllm/model/workspace.h"

namespace cllm::model {

/// Consecutive rows of a micro-batch, and the number of the block that they are in.
struct Rows {
  std::size_t first, count, block;
};

/// One member's part in taking one micro-batch through the model.
///
/// Note [Teams]
///
/// Row-wise work (products with weights, norms, GELU) is dealt to the members by token blocks, each
/// member's own from one end of the model to the other; attention by heads of sequences, of which a
/// member takes one whole, so that no sum is shared; weight gradients by tiles, each over all rows.
/// Members therefore wait for each other only before and after attention, where the head's logits
/// change hands, and before the embeddings' gradient.
class Pass {
 public:
  Pass(const Layout& layout, const Tiling& tiling, const kernels::Kernels& kernels,
       const float* parameters, const MicroBatch& micro_batch, Workspace& workspace,
       Scratch& scratch, const Member& member)
      : layout_(layout),
        tiling_(tiling),
        k_(kernels),
        parameters_(parameters),
        micro_batch_(micro_batch),
        w_(workspace),
        s_(scratch),
        me_(member),
        r_(micro_batch.rows()),
        c_(layout.config().channels),
        width_(layout.config().embedding_width()) {}

  void forward() const;
  void head() const;
  /// The losses and, in dresidual[L % 2], their gradient by the last layer's output.
  void head_backward(float scale, GradientSink& sink) const;
  void layer_backward(std::size_t l, GradientSink& sink) const;
  void embedding_backward(GradientSink& sink) const;
  /// Of all positions. Valid once the team has waited after head or head_backward.
  double total_loss() const;

 private:
  const float* p(std::size_t tensor) const { return parameters_ + layout_[tensor].offset; }

  /// Calls work(rows) for each token block of this member.
  template <typename Work>
  void for_own_rows(const Work& work) const {
    for_own_rows(0, r_, w_.token_block(), work);
  }
  template <typename Work>
  void for_own_rows(std::size_t first, std::size_t count, std::size_t block,
                    const Work& work) const {
    for (std::size_t b = 0; b * block < count; ++b) {
      if (me_.takes(b)) work(Rows{first + b * block, std::min(block, count - b * block), b});
    }
  }
  /// Calls work(sequence, head) for each head of each sequence that is this member's.
  template <typename Work>
  void for_own_heads(const Work& work) const {
    const std::size_t heads = layout_.config().heads;
    for (std::size_t i = 0; i < micro_batch_.sequences * heads; ++i) {
      if (me_.takes(i)) work(i / heads, i % heads);
    }
  }

  void embed() const;
  /// logits (rows, V) of rows of the micro-batch.
  void predict(const Rows& rows, float* logits) const;
  void attend(std::size_t l) const;
  void attend_backward(std::size_t l) const;
  AttentionHead attention_head(const float* qkv, std::size_t sequence, std::size_t head) const;

  /// y (rows, out) = x (rows, in) · weightᵀ of rows of the micro-batch.
  void linear(const float* x, std::size_t weight, float* y, const Rows& rows) const;
  /// x (rows, in) = y (rows, out) · weight of rows of the micro-batch.
  void times(const float* y, std::size_t weight, float* x, const Rows& rows) const;
  /// This member's tiles of dyᵀ · x, with dy (count, out) and x (count, in), to the sink.
  void linear_backward_weight(const float* dy, const float* x, std::size_t count,
                              std::size_t weight, std::size_t pass, GradientSink& sink) const;

  /// This member's tiles of a reduced table's basis, to the sink.
  void basis_backward(GradientSink& sink) const;

  /// Where block's part of the gradients of the group's vectors is summed. Group l < L is a layer,
  /// L the last norm.
  float* vectors_of(std::size_t group, std::size_t block) const;
  /// Gives the gradients of a group's vectors, once all blocks have theirs.
  void give_vectors(std::size_t group, GradientSink& sink) const;

  const Layout& layout_;
  const Tiling& tiling_;
  const kernels::Kernels& k_;
  const float* parameters_;
  const MicroBatch& micro_batch_;
  Workspace& w_;
  Scratch& s_;
  const Member& me_;
  std::size_t r_;      // rows of the micro-batch
  std::size_t c_;      // channels
  std::size_t width_;  // of the token table
};

}  // namespace cllm::model
