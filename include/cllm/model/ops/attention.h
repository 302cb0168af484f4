#pragma once

#include "cllm/kernels/attention.h"
#include "cllm/model/heads.h"
#include "cllm/model/ops/part.h"

namespace cllm::model {

/// Causal self-attention of all heads. H heads of queries share K heads of keys and values, H / K
/// of them each (grouped-query attention, Ainslie et al., arXiv 2305.13245). Goes by heads of
/// sequences, each by one kernel (Note [Attention]).
class Attention final : public Part {
 public:
  struct Buffers {
    Buffer qk;   ///< (rows, at least Hd + Kd): queries and keys side by side
    Buffer qkv;  ///< (rows, Hd + 2Kd): the last Kd are values
    Buffer log_sum_exp, y;
    Buffer dy, dqkv;
  };
  Attention(std::size_t layer, const Heads& heads, const Buffers& buffers)
      : layer_(layer), heads_(heads), b_(buffers) {}

  bool crosses_rows() const override { return true; }
  void forward(const Context& context, const Rows& rows) const override;
  /// A member takes a head of keys with all its heads of queries.
  void backward(const Context& context, const Rows& rows) const override;

 private:
  /// The head of keys and values that a head of queries goes with.
  std::size_t key_head(std::size_t head) const { return head / (heads_.queries / heads_.keys); }
  kernels::AttentionHead head_of(const Context& context, std::size_t sequence,
                                 std::size_t head) const;
  /// Columns of one head in a buffer as wide as qkv.
  View queries(const View& qkv, std::size_t head) const;
  View keys(const View& qkv, std::size_t key_head) const;
  View values(const View& qkv, std::size_t key_head) const;

  std::size_t layer_;
  Heads heads_;
  Buffers b_;
};

}  // namespace cllm::model
