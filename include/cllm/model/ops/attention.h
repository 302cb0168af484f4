#pragma once

#include "cllm/model/ops/part.h"

namespace cllm::model {

/// Causal self-attention of all heads, from queries, keys and values that lie side by side in one
/// buffer (rows, 3C). Goes by heads of sequences, and by blocks of queries (see attention.h).
class Attention final : public Part {
 public:
  struct Buffers {
    Buffer qkv, log_sum_exp, y;
    Buffer dy, dqkv;
  };
  Attention(std::size_t layer, std::size_t heads, const Buffers& buffers)
      : layer_(layer), heads_(heads), b_(buffers) {}

  bool crosses_rows() const override { return true; }
  void forward(const Context& context, const Rows& rows) const override;
  void backward(const Context& context, const Rows& rows) const override;

 private:
  /// Calls work(sequence, head) for each head of each sequence that is this member's.
  template <typename Work>
  void for_own_heads(const Context& context, const Work& work) const;

  std::size_t layer_;
  std::size_t heads_;
  Buffers b_;
};

}  // namespace cllm::model
