#include "cllm/model/ops/attention.h"

namespace cllm::model {
namespace {

kernels::ConstRows const_rows(const View& view) { return {view.data, view.stride}; }
kernels::MutableRows rows_of(const View& view) { return {view.data, view.stride}; }

/// Calls work(sequence, head) for each of `heads` of each sequence that is this member's.
template <typename Work>
void for_own_heads(const Context& context, std::size_t heads, const Work& work) {
  for (std::size_t i = 0; i < context.micro_batch.sequences * heads; ++i) {
    if (context.member.takes(i)) work(i / heads, i % heads);
  }
}

}  // namespace

View Attention::queries(const View& qkv, std::size_t head) const {
  return qkv.columns_from(head * heads_.size, heads_.size);
}
View Attention::keys(const View& qkv, std::size_t key_head) const {
  return qkv.columns_from((heads_.queries + key_head) * heads_.size, heads_.size);
}
View Attention::values(const View& qkv, std::size_t key_head) const {
  return qkv.columns_from((heads_.queries + heads_.keys + key_head) * heads_.size, heads_.size);
}

kernels::AttentionHead Attention::head_of(const Context& context, std::size_t sequence,
                                          std::size_t head) const {
  const MicroBatch& batch = context.micro_batch;
  const std::size_t first = sequence * batch.positions;
  const View qk = context[b_.qk].from(first), qkv = context[b_.qkv].from(first);
  return {.size = heads_.size,
          .positions = batch.positions - batch.past,
          .past = batch.past,
          .q = const_rows(queries(qk, head).from(batch.past)),
          .k = const_rows(keys(qk, key_head(head))),
          .v = const_rows(values(qkv, key_head(head))),
          .begins = batch.begins == nullptr ? nullptr : batch.begins + first + batch.past,
          .workspace = context.scratch.attention};
}

void Attention::forward(const Context& context, const Rows&) const {
  const Span span(context.member.recorder, Activity::kAttention, static_cast<int>(layer_));
  const MicroBatch& batch = context.micro_batch;
  for_own_heads(context, heads_.queries, [&](std::size_t sequence, std::size_t head) {
    const std::size_t first = sequence * batch.positions + batch.past;
    context.kernels.attention_forward(head_of(context, sequence, head),
                                      rows_of(queries(context[b_.y].from(first), head)),
                                      context.workspace.column(b_.log_sum_exp, head) + first);
  });
}

void Attention::backward(const Context& context, const Rows&) const {
  const Span span(context.member.recorder, Activity::kAttention, static_cast<int>(layer_));
  const std::size_t shared = heads_.queries / heads_.keys;
  for_own_heads(context, heads_.keys, [&](std::size_t sequence, std::size_t key) {
    const std::size_t first = sequence * context.micro_batch.positions;
    const View y = context[b_.y].from(first), dy = context[b_.dy].from(first);
    const View dqkv = context[b_.dqkv].from(first);
    for (std::size_t head = key * shared; head < (key + 1) * shared; ++head) {
      context.kernels.attention_backward(
          head_of(context, sequence, head),
          {.out = const_rows(queries(y, head)),
           .dout = const_rows(queries(dy, head)),
           .log_sum_exp = context.workspace.column(b_.log_sum_exp, head) + first,
           .dq = rows_of(queries(dqkv, head)),
           .dk = rows_of(keys(dqkv, key)),
           .dv = rows_of(values(dqkv, key)),
           .adds_to_keys = head > key * shared});
    }
  });
}

}  // namespace cllm::model
