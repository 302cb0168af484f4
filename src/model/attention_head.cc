#include "cllm/model/attention_head.h"

#include <algorithm>
#include <cmath>

#include "cllm/kernels/blas.h"

namespace cllm::model {

using kernels::sgemm;
using enum kernels::Transpose;

namespace {

float score_scale(const AttentionHead& head) {
  return 1.0f / std::sqrt(static_cast<float>(head.head_size));
}

}  // namespace

void attention_forward(const kernels::Kernels& kernels, const AttentionHead& head, float* out,
                       std::size_t out_stride, float* log_sum_exp, float* scores) {
  const std::size_t d = head.head_size;
  for (std::size_t first = 0; first < head.positions; first += kQueryBlock) {
    const std::size_t queries = std::min(kQueryBlock, head.positions - first);
    const std::size_t keys = head.past + first + queries;
    const float* q = head.q + first * head.stride;
    sgemm(kNo, kYes, queries, keys, d, 1.0f, q, head.stride, head.k, head.stride, 0.0f, scores,
          keys);
    kernels.causal_softmax(scores, log_sum_exp + first, score_scale(head), head.past + first + 1,
                           queries, keys, keys);
    sgemm(kNo, kNo, queries, d, keys, 1.0f, scores, keys, head.v, head.stride, 0.0f,
          out + first * out_stride, out_stride);
  }
}

void attention_backward(const kernels::Kernels& kernels, const AttentionHead& head,
                        const float* out, const float* dout, std::size_t out_stride,
                        const float* log_sum_exp, float* dq, float* dk, float* dv, float* scores,
                        float* dscores, float* delta) {
  const std::size_t d = head.head_size;
  const std::size_t stride = head.stride;
  const std::size_t blocks = (head.positions + kQueryBlock - 1) / kQueryBlock;
  // From the last block, which sees every key: it writes dk and dv, the others add to them.
  for (std::size_t block = blocks; block-- > 0;) {
    const std::size_t first = block * kQueryBlock;
    const std::size_t queries = std::min(kQueryBlock, head.positions - first);
    const std::size_t keys = first + queries;
    const float beta = block + 1 == blocks ? 0.0f : 1.0f;
    const float* q = head.q + first * stride;
    const float* dout_block = dout + first * out_stride;

    sgemm(kNo, kYes, queries, keys, d, 1.0f, q, stride, head.k, stride, 0.0f, scores, keys);
    kernels.causal_probabilities(scores, log_sum_exp + first, score_scale(head), first + 1, queries,
                                 keys, keys);
    sgemm(kYes, kNo, keys, d, queries, 1.0f, scores, keys, dout_block, out_stride, beta, dv,
          stride);
    sgemm(kNo, kYes, queries, keys, d, 1.0f, dout_block, out_stride, head.v, stride, 0.0f, dscores,
          keys);
    kernels.row_dots(dout_block, out + first * out_stride, delta, queries, d, out_stride,
                     out_stride);
    kernels.softmax_backward(scores, dscores, delta, score_scale(head), queries, keys, keys);
    sgemm(kNo, kNo, queries, d, keys, 1.0f, dscores, keys, head.k, stride, 0.0f,
          dq + first * stride, stride);
    sgemm(kYes, kNo, keys, d, queries, 1.0f, dscores, keys, q, stride, beta, dk, stride);
  }
}

}  // namespace cllm::model
