#include "cllm/model/attention_head.h"

#include <algorithm>
#include <cmath>

#include "cllm/kernels/blas.h"

namespace cllm::model {

using kernels::sgemm;
using enum kernels::Transpose;

namespace {

float score_scale(const AttentionHead& head) {
  return 1.0f / std::sqrt(static_cast<float>(head.q.columns));
}

/// Of the queries from `first` on.
const std::uint32_t* begins_from(const AttentionHead& head, std::size_t first) {
  return head.begins == nullptr ? nullptr : head.begins + first;
}

}  // namespace

void attention_forward(const kernels::Kernels& kernels, const AttentionHead& head, View out,
                       float* log_sum_exp, float* scores) {
  const std::size_t d = head.q.columns;
  for (std::size_t first = 0; first < head.positions; first += kQueryBlock) {
    const std::size_t queries = std::min(kQueryBlock, head.positions - first);
    const std::size_t keys = head.past + first + queries;
    sgemm(kNo, kYes, queries, keys, d, 1.0f, head.q.row(first), head.q.stride, head.k.data,
          head.k.stride, 0.0f, scores, keys);
    kernels.causal_softmax(scores, log_sum_exp + first, score_scale(head), head.past + first + 1,
                           begins_from(head, first), queries, keys, keys);
    sgemm(kNo, kNo, queries, d, keys, 1.0f, scores, keys, head.v.data, head.v.stride, 0.0f,
          out.row(first), out.stride);
  }
}

void attention_backward(const kernels::Kernels& kernels, const AttentionHead& head,
                        const AttentionGradients& g, float* scores, float* dscores, float* delta) {
  const std::size_t d = head.q.columns;
  const std::size_t blocks = (head.positions + kQueryBlock - 1) / kQueryBlock;
  // From the last block, which sees every key: it writes dk and dv, the others add to them.
  for (std::size_t block = blocks; block-- > 0;) {
    const std::size_t first = block * kQueryBlock;
    const std::size_t queries = std::min(kQueryBlock, head.positions - first);
    const std::size_t keys = first + queries;
    const float beta = block + 1 == blocks && !g.adds_to_keys ? 0.0f : 1.0f;
    const float* const q = head.q.row(first);
    const float* const dout = g.dout.row(first);

    sgemm(kNo, kYes, queries, keys, d, 1.0f, q, head.q.stride, head.k.data, head.k.stride, 0.0f,
          scores, keys);
    kernels.causal_probabilities(scores, g.log_sum_exp + first, score_scale(head), first + 1,
                                 begins_from(head, first), queries, keys, keys);
    sgemm(kYes, kNo, keys, d, queries, 1.0f, scores, keys, dout, g.dout.stride, beta, g.dv.data,
          g.dv.stride);
    sgemm(kNo, kYes, queries, keys, d, 1.0f, dout, g.dout.stride, head.v.data, head.v.stride, 0.0f,
          dscores, keys);
    kernels.row_dots(dout, g.out.row(first), delta, queries, d, g.dout.stride, g.out.stride);
    kernels.softmax_backward(scores, dscores, delta, score_scale(head), queries, keys, keys);
    sgemm(kNo, kNo, queries, d, keys, 1.0f, dscores, keys, head.k.data, head.k.stride, 0.0f,
          g.dq.row(first), g.dq.stride);
    sgemm(kYes, kNo, keys, d, queries, 1.0f, dscores, keys, q, head.q.stride, beta, g.dk.data,
          g.dk.stride);
  }
}

}  // namespace cllm::model
