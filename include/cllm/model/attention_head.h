#pragma once

#include <cstddef>
#include <cstdint>

#include "cllm/kernels/kernels.h"
#include "cllm/model/view.h"

namespace cllm::model {

/// Queries that attention takes at a time.
inline constexpr std::size_t kQueryBlock = 64;

/// The heads of an attention: of queries, H, and of keys and values, K.
struct Heads {
  std::size_t queries, keys;
  std::size_t size;  ///< d
};

/// Causal attention of one sequence and one head of queries, by blocks of queries; keys that no
/// query of a block may see are not touched. d is the head size; views have d columns.
struct AttentionHead {
  ConstView q;            ///< (T, d): queries of the positions, or of the new ones
  ConstView k, v;         ///< (past + T, d)
  std::size_t positions;  ///< T, or the number of new positions
  std::size_t past;       ///< keys and values that come before the first query's own
  /// (T): the first key that each query sees; nullptr: 0.
  const std::uint32_t* begins = nullptr;
};

/// out (T, d) = softmax(q kᵀ / sqrt(d)) v; log_sum_exp (T). scores has room for
/// (min(T, kQueryBlock), past + T).
void attention_forward(const kernels::Kernels& kernels, const AttentionHead& head, View out,
                       float* log_sum_exp, float* scores);

/// What attention_backward needs of forward, and what it writes.
struct AttentionGradients {
  ConstView out, dout;       ///< (T, d)
  const float* log_sum_exp;  ///< (T)
  View dq, dk, dv;           ///< (T, d)
  /// dk and dv are added to: they have the gradient of other heads of queries.
  bool adds_to_keys;
};

/// Gradients of q, k, v from dout. The probabilities are computed again from log_sum_exp (as in
/// FlashAttention, Dao et al. 2022, algorithm 4), so that no T x T matrix is kept. past must be 0.
/// scores and dscores have room for (min(T, kQueryBlock), T), delta for kQueryBlock.
void attention_backward(const kernels::Kernels& kernels, const AttentionHead& head,
                        const AttentionGradients& gradients, float* scores, float* dscores,
                        float* delta);

}  // namespace cllm::model
