#pragma once

#include <cstddef>
#include <cstdint>

// Without the standard library's code, so that code for wider vectors may include it: Note [Files
// of an implementation] in src/kernels/tables.h.
namespace cllm::kernels {

/// Note [Attention]
///
/// Causal attention of one sequence and one head: out = softmax(q kᵀ / sqrt(d)) v, each query over
/// the keys up to its own and from its document's beginning on. No T x T matrix is kept, and none
/// goes through memory (Dao et al., "FlashAttention", NeurIPS 2022, and Dao, "FlashAttention-2",
/// ICLR 2024, whose order backward has): keys are taken in blocks of kKeyBlock, counted from the
/// sequence's first, and queries in blocks of kQueryBlock; of each block of keys there is a largest
/// score so far, and what was summed before is scaled down when it grows. Backward computes the
/// probabilities again from their log-sum-exp.
///
/// Scores lie by keys, (keys, queries): so both the largest and the sum of a query go down columns,
/// sixteen queries side by side, and scores are A's columns or rows of the next product as they
/// lie.
///
/// A score is one chain of fused multiply-adds along d. A query's sums go key by key in a block,
/// and block by block; those of a key's gradients query by query in a block. Up to kFewQueries
/// queries, which are those of a model that generates, go one by one with sums along d, since
/// they'd leave vectors of queries empty. So bits depend on no processor, and those of a query on
/// no other one, but where a value isn't finite: it may spoil queries before it.
inline constexpr std::size_t kKeyBlock = 256;
inline constexpr std::size_t kQueryBlock = 64;
inline constexpr std::size_t kFewQueries = 4;

/// Rows of floats, `stride` apart.
struct ConstRows {
  const float* data;
  std::size_t stride;
};
struct MutableRows {
  float* data;
  std::size_t stride;
};

/// What attention reads. Rows have d columns.
struct AttentionHead {
  std::size_t size;       ///< d
  std::size_t positions;  ///< T: queries
  std::size_t past;       ///< keys and values that come before the first query's own
  ConstRows q;            ///< (T, d)
  ConstRows k, v;         ///< (past + T, d)
  /// (T): the first key that each query sees, not after its own and not before that of the query
  /// before it; nullptr: 0.
  const std::uint32_t* begins;
  /// Of the calling thread: attention_workspace(d, T) floats.
  float* workspace;
};

/// What backward needs of forward, and what it writes.
struct AttentionGradients {
  ConstRows out, dout;       ///< (T, d)
  const float* log_sum_exp;  ///< (T)
  MutableRows dq, dk, dv;    ///< (T, d)
  /// dk and dv are added to: they have the gradient of other heads of queries.
  bool adds_to_keys;
};

/// Floats that attention works in, for heads of `size` and so many positions.
std::size_t attention_workspace(std::size_t size, std::size_t positions);

}  // namespace cllm::kernels
