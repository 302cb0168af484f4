#include "cllm/model/ops/queries_keys.h"

#include <algorithm>

#include "cllm/base/elementary.h"

namespace cllm::model {

RotaryAngles::RotaryAngles(std::size_t positions, std::size_t head_size, double theta)
    : pairs_(head_size / 2), cosines_(positions * pairs_), sines_(positions * pairs_) {
  for (std::size_t i = 0; i < pairs_; ++i) {
    const double step =
        power(theta, -2.0 * static_cast<double>(i) / static_cast<double>(head_size));
    for (std::size_t p = 0; p < positions; ++p) {
      const double angle = static_cast<double>(p) * step;
      cosines_[p * pairs_ + i] = static_cast<float>(cosine(angle));
      sines_[p * pairs_ + i] = static_cast<float>(sine(angle));
    }
  }
}

void QueriesKeys::forward(const Context& context, const Rows& rows) const {
  const kernels::Kernels& k = context.kernels;
  const View in = context[b_.qkv], out = context[b_.qk];
  const std::size_t keys = heads_.queries * heads_.size;  // their first column
  for_chunks(rows, [&](std::size_t first, std::size_t count) {
    if (norm_) {
      k.rmsnorm(in.row(first), in.stride, context.parameter_or_null(norm_->q_gain), out.row(first),
                out.stride, context[norm_->q_rstd].row(first), norm_->epsilon, count,
                heads_.queries, heads_.size);
      k.rmsnorm(in.row(first) + keys, in.stride, context.parameter_or_null(norm_->k_gain),
                out.row(first) + keys, out.stride, context[norm_->k_rstd].row(first),
                norm_->epsilon, count, heads_.keys, heads_.size);
    }
    rotate(context, out, first, count, 1.0f);
  });
}

void QueriesKeys::backward(const Context& context, const Rows& rows) const {
  const kernels::Kernels& k = context.kernels;
  const View in = context[b_.qkv], d = context[b_.dqkv];
  const std::size_t keys = heads_.queries * heads_.size;
  float* const dq_gain = norm_ ? begin_vector_sum(context, norm_->q_gain, rows) : nullptr;
  float* const dk_gain = norm_ ? begin_vector_sum(context, norm_->k_gain, rows) : nullptr;
  for_chunks(rows, [&](std::size_t first, std::size_t count) {
    rotate(context, d, first, count, -1.0f);
    if (!norm_) return;
    float* const dq = d.row(first);
    k.rmsnorm_backward(dq, d.stride, in.row(first), in.stride, context[norm_->q_rstd].row(first),
                       context.parameter_or_null(norm_->q_gain), nullptr, dq, d.stride, dq_gain,
                       count, heads_.queries, heads_.size);
    float* const dk = dq + keys;
    k.rmsnorm_backward(dk, d.stride, in.row(first) + keys, in.stride,
                       context[norm_->k_rstd].row(first), context.parameter_or_null(norm_->k_gain),
                       nullptr, dk, d.stride, dk_gain, count, heads_.keys, heads_.size);
  });
}

void QueriesKeys::rotate(const Context& context, const View& heads, std::size_t first,
                         std::size_t count, float direction) const {
  if (!angles_) return;
  const MicroBatch& batch = context.micro_batch;
  while (count > 0) {  // as many rows as follow each other in a document of a sequence
    const std::size_t position = batch.position(first);
    std::size_t rows = std::min(count, batch.positions - first % batch.positions);
    if (batch.begins != nullptr) {
      const std::uint32_t* const begin = batch.begins + first;
      rows = static_cast<std::size_t>(
          std::find_if(begin, begin + rows, [&](std::uint32_t b) { return b != *begin; }) - begin);
    }
    context.kernels.rotate(heads.row(first), heads.stride, angles_->cosines(position),
                           angles_->sines(position), direction, heads.row(first), heads.stride,
                           rows, heads_.queries + heads_.keys, heads_.size);
    first += rows;
    count -= rows;
  }
}

std::vector<std::size_t> QueriesKeys::vectors() const {
  if (!norm_ || !norm_->q_gain) return {};
  return {*norm_->q_gain, *norm_->k_gain};
}

}  // namespace cllm::model
