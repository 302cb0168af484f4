#include "cllm/model/ops/lm_head.h"

#include <algorithm>
#include <cstdint>

#include "cllm/kernels/blas.h"
#include "cllm/model/ops/linear.h"

namespace cllm::model {

using kernels::sgemm;
using enum kernels::Transpose;

std::vector<MatrixInput> LmHead::matrices() const {
  std::vector<MatrixInput> matrices = {{t_.weight, b_.projected}};
  if (t_.basis) matrices.push_back({*t_.basis, b_.x});
  return matrices;
}

void LmHead::predict(const Context& context, const Rows& rows, float* logits) const {
  multiply_weight(context, rows, logits);
  if (softcap_ > 0) {
    context.kernels.softcap(logits, softcap_, rows.count * context.layout[t_.weight].rows);
  }
}

void LmHead::multiply_weight(const Context& context, const Rows& rows, float* logits) const {
  if (t_.basis) multiply(context, b_.x, *t_.basis, b_.projected, rows);
  const ConstView weight = context.matrix(t_.weight);
  const std::size_t vocabulary = context.layout[t_.weight].rows;
  const View in = context[b_.projected].from(rows.first);
  context.multiply({in.data, in.columns, in.stride}, rows.count, weight, vocabulary, logits,
                   vocabulary);
}

void LmHead::losses(const Context& context) const {
  const Workspace& w = context.workspace;
  const std::size_t vocabulary = context.layout[t_.weight].rows, r = context.micro_batch.rows();
  for (std::size_t first = 0; first < r; first += w.head_rows()) {
    const std::size_t count = std::min(w.head_rows(), r - first);
    context.for_own_rows(first, count, w.head_block(), [&](const Rows& rows) {
      float* const logits = w.logits + (rows.first - first) * vocabulary;
      predict(context, rows, logits);
      context.kernels.cross_entropy(logits, context.micro_batch.targets + rows.first,
                                    w.losses + rows.first, rows.count, vocabulary);
    });
  }
}

void LmHead::backward(const Context& context, float scale, GradientSink& sink) const {
  const Workspace& w = context.workspace;
  const ConstView weight = context.matrix(t_.weight);
  const View projected = context[b_.projected], dprojected = context[b_.dprojected];
  const std::size_t vocabulary = context.layout[t_.weight].rows, r = context.micro_batch.rows();
  for (std::size_t first = 0, pass = 0; first < r; first += w.head_rows(), ++pass) {
    const std::size_t count = std::min(w.head_rows(), r - first);
    // Until everybody has its rows of x, and nobody needs the last pass' logits.
    context.member.wait();
    context.for_own_rows(first, count, w.head_block(), [&](const Rows& rows) {
      float* const logits = w.logits + (rows.first - first) * vocabulary;
      multiply_weight(context, rows, logits);
      const std::uint32_t* const targets = context.micro_batch.targets + rows.first;
      float* const losses = w.losses + rows.first;
      if (softcap_ > 0) {
        context.kernels.capped_cross_entropy_backward(logits, targets, losses, softcap_, scale,
                                                      rows.count, vocabulary);
      } else {
        context.kernels.cross_entropy_backward(logits, targets, losses, scale, rows.count,
                                               vocabulary);
      }
      const View d = dprojected.from(rows.first);
      sgemm(kNo, kNo, rows.count, d.columns, vocabulary, 1.0f, logits, vocabulary, weight.data,
            weight.stride, 0.0f, d.data, d.stride);
      if (t_.basis) multiply_back(context, b_.dprojected, *t_.basis, b_.dx, rows);
    });
    context.member.wait();
    const View x = projected.from(first);
    give_product(context, Activity::kLmHead, {w.logits, vocabulary, vocabulary},
                 {x.data, x.columns, x.stride}, count, t_.weight, pass, sink);
  }
}

}  // namespace cllm::model
