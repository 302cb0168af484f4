#include "pass.h"

#include <cstring>

#include "cllm/kernels/blas.h"

namespace cllm::model {

using kernels::sgemm;
using enum kernels::Transpose;

void Pass::embed() const {
  const LayerTensors& t = layout_.layer(0);
  const LayerActivations& a = w_.layers[0];
  for_own_rows([&](const Rows& rows) {
    const bool reduced = layout_.config().is_factorised();
    const InputTable* const copy = micro_batch_.input_table;
    const float* const table = copy == nullptr ? p(layout_.embedding()) : copy->rows;
    float* const table_rows = reduced ? w_.codes : a.input;
    for (std::size_t row = rows.first; row < rows.first + rows.count; ++row) {
      std::memcpy(table_rows + row * width_,
                  table + micro_batch_.row_of(micro_batch_.inputs[row]) * width_,
                  width_ * sizeof(float));
    }
    if (reduced) times(w_.codes, layout_.embedding_basis(), a.input, rows);
    for (std::size_t row = rows.first; row < rows.first + rows.count; ++row) {
      k_.add(p(layout_.wpe()) + row % micro_batch_.positions * c_, a.input + row * c_, c_);
    }
    k_.layernorm(a.input + rows.first * c_, p(t.ln_1_weight), p(t.ln_1_bias),
                 a.ln_1 + rows.first * c_, a.mean_1 + rows.first, a.rstd_1 + rows.first, rows.count,
                 c_);
  });
}

void Pass::forward() const {
  const Span span(me_.recorder, Activity::kForward);
  const std::size_t layers = layout_.config().layers;
  embed();
  for (std::size_t l = 0; l < layers; ++l) {
    const LayerTensors& t = layout_.layer(l);
    const LayerActivations& a = w_.layers[l];
    for_own_rows([&](const Rows& rows) {
      linear(a.ln_1, t.c_attn_weight, a.qkv, rows);
      k_.add_bias(p(t.c_attn_bias), a.qkv + rows.first * 3 * c_, rows.count, 3 * c_);
    });
    me_.wait();
    attend(l);
    me_.wait();
    for_own_rows([&](const Rows& rows) {
      const auto at = [&](float* x) { return x + rows.first * c_; };
      linear(a.attention, t.attn_proj_weight, w_.branch, rows);
      k_.residual_layernorm(at(a.input), at(w_.branch), p(t.attn_proj_bias), p(t.ln_2_weight),
                            p(t.ln_2_bias), at(a.middle), at(a.ln_2), a.mean_2 + rows.first,
                            a.rstd_2 + rows.first, rows.count, c_);
      linear(a.ln_2, t.c_fc_weight, a.fc, rows);
      k_.bias_gelu(p(t.c_fc_bias), a.fc + rows.first * 4 * c_, a.gelu + rows.first * 4 * c_,
                   rows.count, 4 * c_);
      linear(a.gelu, t.mlp_proj_weight, w_.branch, rows);
      // The layer's output and the norm that follows it: the next layer's first, or the last.
      if (l + 1 < layers) {
        const LayerTensors& next = layout_.layer(l + 1);
        const LayerActivations& b = w_.layers[l + 1];
        k_.residual_layernorm(at(a.middle), at(w_.branch), p(t.mlp_proj_bias), p(next.ln_1_weight),
                              p(next.ln_1_bias), at(b.input), at(b.ln_1), b.mean_1 + rows.first,
                              b.rstd_1 + rows.first, rows.count, c_);
      } else {
        k_.residual_layernorm(at(a.middle), at(w_.branch), p(t.mlp_proj_bias),
                              p(layout_.ln_f_weight()), p(layout_.ln_f_bias()), at(w_.last),
                              at(w_.ln_f), w_.mean_f + rows.first, w_.rstd_f + rows.first,
                              rows.count, c_);
      }
    });
  }
}

void Pass::head() const {
  const Span span(me_.recorder, Activity::kLmHead);
  const std::size_t v = layout_.config().vocabulary;
  for (std::size_t first = 0; first < r_; first += w_.head_rows()) {
    const std::size_t count = std::min(w_.head_rows(), r_ - first);
    for_own_rows(first, count, w_.head_block(), [&](const Rows& rows) {
      float* logits = w_.logits + (rows.first - first) * v;
      predict(rows, logits);
      k_.cross_entropy(logits, micro_batch_.targets + rows.first, w_.losses + rows.first,
                       rows.count, v);
    });
  }
}

void Pass::predict(const Rows& rows, float* logits) const {
  const std::size_t v = layout_.config().vocabulary;
  if (layout_.config().is_factorised())
    linear(w_.ln_f, layout_.embedding_basis(), w_.projected, rows);
  sgemm(kNo, kYes, rows.count, v, width_, 1.0f, w_.projected + rows.first * width_, width_,
        p(layout_.embedding()), width_, 0.0f, logits, v);
}

void Pass::attend(std::size_t l) const {
  const Span span(me_.recorder, Activity::kAttention, static_cast<int>(l));
  const LayerActivations& a = w_.layers[l];
  const std::size_t d = layout_.config().head_size();
  for_own_heads([&](std::size_t s, std::size_t h) {
    attention_forward(k_, attention_head(a.qkv, s, h),
                      a.attention + s * micro_batch_.positions * c_ + h * d, c_,
                      a.log_sum_exp + h * r_ + s * micro_batch_.positions, s_.scores);
  });
}

AttentionHead Pass::attention_head(const float* qkv, std::size_t sequence, std::size_t head) const {
  const std::size_t d = layout_.config().head_size();
  const float* q = qkv + sequence * micro_batch_.positions * 3 * c_ + head * d;
  return {.q = q,
          .k = q + c_,
          .v = q + 2 * c_,
          .stride = 3 * c_,
          .positions = micro_batch_.positions,
          .past = 0,
          .head_size = d};
}

void Pass::linear(const float* x, std::size_t weight, float* y, const Rows& rows) const {
  const Span span(me_.recorder, Activity::kMatrix);
  const std::size_t out = layout_[weight].rows, in = layout_[weight].columns;
  sgemm(kNo, kYes, rows.count, out, in, 1.0f, x + rows.first * in, in, p(weight), in, 0.0f,
        y + rows.first * out, out);
}

void Pass::times(const float* y, std::size_t weight, float* x, const Rows& rows) const {
  const Span span(me_.recorder, Activity::kMatrix);
  const std::size_t out = layout_[weight].rows, in = layout_[weight].columns;
  sgemm(kNo, kNo, rows.count, in, out, 1.0f, y + rows.first * out, out, p(weight), in, 0.0f,
        x + rows.first * in, in);
}

/// Sums in double, so that a micro-batch's loss is as exact as its terms.
double Pass::total_loss() const {
  double sum = 0;
  for (std::size_t r = 0; r < r_; ++r) sum += static_cast<double>(w_.losses[r]);
  return sum;
}

}  // namespace cllm::model
