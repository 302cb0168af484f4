#include "cllm/model/ops/lm_head.h"

#include <algorithm>
#include <cstdint>

#include "cllm/kernels/blas.h"
#include "cllm/model/ops/linear.h"

namespace cllm::model {

using kernels::sgemm;
using enum kernels::Transpose;

std::vector<MatrixInput> LmHead::matrices() const {
  std::vector<MatrixInput> matrices;
  for (std::size_t i = 0; i < t_.bands.size(); ++i) {
    matrices.push_back({t_.bands[i].tensor, input_of(i)});
    if (t_.bands[i].basis) matrices.push_back({*t_.bands[i].basis, b_.x});
  }
  return matrices;
}

void LmHead::predict(const Context& context, const Rows& rows, float* logits) const {
  multiply_weight(context, rows, logits);
  if (softcap_ > 0) context.kernels.softcap(logits, softcap_, rows.count * vocabulary());
}

void LmHead::multiply_weight(const Context& context, const Rows& rows, float* logits) const {
  for (std::size_t i = 0; i < t_.bands.size(); ++i) {
    const TableBand& band = t_.bands[i];
    if (band.basis) multiply(context, b_.x, *band.basis, *b_.projected[i], rows);
    const ConstView weight = context.matrix(band.tensor);
    const View in = context[input_of(i)].from(rows.first);
    context.multiply({in.data, in.columns, in.stride}, rows.count, weight, band.rows,
                     logits + band.first_row, vocabulary());
  }
}

void LmHead::losses(const Context& context) const {
  const Workspace& w = context.workspace;
  const std::size_t v = vocabulary(), r = context.micro_batch.rows();
  for (std::size_t first = 0; first < r; first += w.head_rows()) {
    const std::size_t count = std::min(w.head_rows(), r - first);
    context.for_own_rows(first, count, w.head_block(), [&](const Rows& rows) {
      float* const logits = w.logits + (rows.first - first) * v;
      predict(context, rows, logits);
      context.kernels.cross_entropy(logits, context.micro_batch.targets + rows.first,
                                    w.losses + rows.first, rows.count, v);
    });
  }
}

void LmHead::multiply_weight_back(const Context& context, const Rows& rows,
                                  const float* dlogits) const {
  for (std::size_t i = 0; i < t_.bands.size(); ++i) {
    const TableBand& band = t_.bands[i];
    const ConstView weight = context.matrix(band.tensor);
    const float others = i == 0 ? 0.0f : 1.0f;  // the bands before are in dx
    const View d = context[b_.dprojected[i].value_or(b_.dx)].from(rows.first);
    sgemm(kNo, kNo, rows.count, d.columns, band.rows, 1.0f, dlogits + band.first_row, vocabulary(),
          weight.data, weight.stride, band.basis ? 0.0f : others, d.data, d.stride);
    if (band.basis) multiply_back(context, *b_.dprojected[i], *band.basis, b_.dx, rows, others);
  }
}

void LmHead::backward(const Context& context, float scale, GradientSink& sink) const {
  const Workspace& w = context.workspace;
  const std::size_t v = vocabulary(), r = context.micro_batch.rows();
  for (std::size_t first = 0, pass = 0; first < r; first += w.head_rows(), ++pass) {
    const std::size_t count = std::min(w.head_rows(), r - first);
    // Until everybody has its rows of x, and nobody needs the last pass' logits.
    context.member.wait();
    context.for_own_rows(first, count, w.head_block(), [&](const Rows& rows) {
      float* const logits = w.logits + (rows.first - first) * v;
      multiply_weight(context, rows, logits);
      const std::uint32_t* const targets = context.micro_batch.targets + rows.first;
      float* const losses = w.losses + rows.first;
      if (softcap_ > 0) {
        context.kernels.capped_cross_entropy_backward(logits, targets, losses, softcap_, scale,
                                                      rows.count, v);
      } else {
        context.kernels.cross_entropy_backward(logits, targets, losses, scale, rows.count, v);
      }
      multiply_weight_back(context, rows, logits);
    });
    context.member.wait();
    for (std::size_t i = 0; i < t_.bands.size(); ++i) {
      const TableBand& band = t_.bands[i];
      const View x = context[input_of(i)].from(first);
      give_product(context, Activity::kLmHead, {w.logits + band.first_row, band.rows, v},
                   {x.data, x.columns, x.stride}, count, band.tensor, pass, sink);
    }
  }
  if (!t_.owns_bases) return;
  const View x = context[b_.x];
  for (std::size_t i = 0; i < t_.bands.size(); ++i) {
    if (!t_.bands[i].basis) continue;
    const View d = context[*b_.dprojected[i]];
    give_product(context, Activity::kLmHead, {d.data, d.columns, d.stride},
                 {x.data, x.columns, x.stride}, r, *t_.bands[i].basis, 0, sink);
  }
}

}  // namespace cllm::model
