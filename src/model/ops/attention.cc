#include "cllm/model/ops/attention.h"

#include "cllm/model/attention_head.h"

namespace cllm::model {
namespace {

/// Queries, keys and values of one head of one sequence, from its first row on.
struct HeadColumns {
  View q, k, v;
};

HeadColumns columns_of(const View& qkv, std::size_t head, std::size_t head_size) {
  const std::size_t channels = qkv.columns / 3;
  const auto part = [&](std::size_t index) {
    return qkv.columns_from(index * channels + head * head_size, head_size);
  };
  return {part(0), part(1), part(2)};
}

}  // namespace

template <typename Work>
void Attention::for_own_heads(const Context& context, const Work& work) const {
  for (std::size_t i = 0; i < context.micro_batch.sequences * heads_; ++i) {
    if (context.member.takes(i)) work(i / heads_, i % heads_);
  }
}

void Attention::forward(const Context& context, const Rows&) const {
  const Span span(context.member.recorder, Activity::kAttention, static_cast<int>(layer_));
  const MicroBatch& batch = context.micro_batch;
  const std::size_t head_size = context[b_.y].columns / heads_;
  for_own_heads(context, [&](std::size_t sequence, std::size_t head) {
    const std::size_t first = sequence * batch.positions;
    const auto [q, k, v] = columns_of(context[b_.qkv].from(first), head, head_size);
    const View y = context[b_.y].columns_from(head * head_size, head_size);
    attention_forward(context.kernels,
                      {.q = q.row(batch.past),
                       .k = k.data,
                       .v = v.data,
                       .stride = q.stride,
                       .positions = batch.positions - batch.past,
                       .past = batch.past,
                       .head_size = head_size},
                      y.row(first + batch.past), y.stride,
                      context.workspace.column(b_.log_sum_exp, head) + first + batch.past,
                      context.scratch.scores);
  });
}

void Attention::backward(const Context& context, const Rows&) const {
  const Span span(context.member.recorder, Activity::kAttention, static_cast<int>(layer_));
  const MicroBatch& batch = context.micro_batch;
  const std::size_t head_size = context[b_.y].columns / heads_;
  for_own_heads(context, [&](std::size_t sequence, std::size_t head) {
    const std::size_t first = sequence * batch.positions;
    const auto [q, k, v] = columns_of(context[b_.qkv].from(first), head, head_size);
    const auto [dq, dk, dv] = columns_of(context[b_.dqkv].from(first), head, head_size);
    const View y = context[b_.y].columns_from(head * head_size, head_size);
    const View dy = context[b_.dy].columns_from(head * head_size, head_size);
    attention_backward(context.kernels,
                       {.q = q.data,
                        .k = k.data,
                        .v = v.data,
                        .stride = q.stride,
                        .positions = batch.positions,
                        .past = 0,
                        .head_size = head_size},
                       y.row(first), dy.row(first), y.stride,
                       context.workspace.column(b_.log_sum_exp, head) + first, dq.data, dk.data,
                       dv.data, context.scratch.scores, context.scratch.dscores,
                       context.scratch.delta);
  });
}

}  // namespace cllm::model
