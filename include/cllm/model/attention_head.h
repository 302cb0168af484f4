#pragma once

#include <cstddef>

#include "cllm/kernels/kernels.h"

namespace cllm::model {

/// Queries that attention takes at a time.
inline constexpr std::size_t kQueryBlock = 64;

/// Causal attention of one sequence and one head, by blocks of queries; keys that no query of a
/// block may see are not touched. d is the head size; q, k, v (T, d) are slices of rows `stride`
/// apart.
struct AttentionHead {
  const float *q, *k, *v;
  std::size_t stride;     ///< floats between rows of q, k and v
  std::size_t positions;  ///< T, or the number of new positions
  std::size_t past;       ///< keys and values that come before the first query's own
  std::size_t head_size;  ///< d
};

/// out (T, d), rows `out_stride` apart, = softmax(q kᵀ / sqrt(d)) v; log_sum_exp (T).
/// k and v have past + T rows. scores has room for (min(T, kQueryBlock), past + T).
void attention_forward(const kernels::Kernels& kernels, const AttentionHead& head, float* out,
                       std::size_t out_stride, float* log_sum_exp, float* scores);

/// Gradients of q, k, v, rows `stride` apart, from dout, rows `out_stride` apart. The probabilities
/// are computed again from log_sum_exp (as in FlashAttention, Dao et al. 2022, algorithm 4), so
/// that no T x T matrix is kept. past must be 0. scores and dscores have room for (min(T,
/// kQueryBlock), T), delta for kQueryBlock.
void attention_backward(const kernels::Kernels& kernels, const AttentionHead& head,
                        const float* out, const float* dout, std::size_t out_stride,
                        const float* log_sum_exp, float* dq, float* dk, float* dv, float* scores,
                        float* dscores, float* delta);

}  // namespace cllm::model
