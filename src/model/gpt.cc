#include "cllm/model/gpt.h"

#include <algorithm>
#include <cassert>
#include <cstring>

#include "cllm/kernels/blas.h"
#include "cllm/model/attention.h"

namespace cllm::model {

using kernels::sgemm;
using enum kernels::Transpose;

namespace {

/// y (R, out) = x (R, in) · weightᵀ; weight (out, in).
void linear(const float* x, const float* weight, float* y, std::size_t rows, std::size_t in,
            std::size_t out) {
  sgemm(kNo, kYes, rows, out, in, 1.0f, x, in, weight, in, 0.0f, y, out);
}

/// dx (R, in) = dy (R, out) · weight.
void linear_backward_input(const float* dy, const float* weight, float* dx, std::size_t rows,
                           std::size_t in, std::size_t out) {
  sgemm(kNo, kNo, rows, in, out, 1.0f, dy, out, weight, in, 0.0f, dx, in);
}

/// dweight (out, in) += dyᵀ · x.
void linear_backward_weight(const float* dy, const float* x, float* dweight, std::size_t rows,
                            std::size_t in, std::size_t out) {
  sgemm(kYes, kNo, out, in, rows, 1.0f, dy, out, x, in, 1.0f, dweight, in);
}

AttentionHead attention_head(const float* qkv, std::size_t sequence, std::size_t head,
                             const Unit& unit, const ModelConfig& config) {
  const std::size_t c = config.channels;
  const float* q = qkv + sequence * unit.positions * 3 * c + head * config.head_size();
  return {.q = q,
          .k = q + c,
          .v = q + 2 * c,
          .stride = 3 * c,
          .positions = unit.positions,
          .past = 0,
          .head_size = config.head_size()};
}

/// Sums in double, so that a unit's loss is as exact as its terms.
double total(const float* losses, std::size_t rows) {
  double sum = 0;
  for (std::size_t r = 0; r < rows; ++r) sum += static_cast<double>(losses[r]);
  return sum;
}

}  // namespace

double Gpt::loss(const float* parameters, const Unit& unit, Workspace& w) const {
  forward(parameters, unit, w);
  return head(parameters, unit, w);
}

double Gpt::loss_and_gradient(const float* parameters, const Unit& unit, float scale, Workspace& w,
                              float* gradient) const {
  assert(w.purpose() == Workspace::Purpose::kTraining);
  forward(parameters, unit, w);
  const double loss = head_backward(parameters, unit, scale, w, gradient);
  for (std::size_t l = layout_.config().layers; l-- > 0;) {
    layer_backward(parameters, l, unit, w, gradient);
  }
  embedding_backward(unit, w, gradient);
  return loss;
}

void Gpt::forward(const float* parameters, const Unit& unit, Workspace& w) const {
  assert(unit.rows() <= w.rows());
  const ModelConfig& config = layout_.config();
  const kernels::Kernels& k = *kernels_;
  const std::size_t r = unit.rows(), c = config.channels;
  const auto p = [&](std::size_t tensor) { return at(parameters, tensor); };

  for (std::size_t row = 0; row < r; ++row) {
    float* x = w.layers[0].input + row * c;
    std::memcpy(x, p(layout_.wte()) + unit.inputs[row] * c, c * sizeof(float));
    k.add(p(layout_.wpe()) + row % unit.positions * c, x, c);
  }
  k.layernorm(w.layers[0].input, p(layout_.layer(0).ln_1_weight), p(layout_.layer(0).ln_1_bias),
              w.layers[0].ln_1, w.layers[0].mean_1, w.layers[0].rstd_1, r, c);

  for (std::size_t l = 0; l < config.layers; ++l) {
    const LayerTensors& t = layout_.layer(l);
    const LayerActivations& a = w.layers[l];

    linear(a.ln_1, p(t.c_attn_weight), a.qkv, r, c, 3 * c);
    k.add_bias(p(t.c_attn_bias), a.qkv, r, 3 * c);
    for (std::size_t s = 0; s < unit.sequences; ++s) {
      for (std::size_t h = 0; h < config.heads; ++h) {
        attention_forward(k, attention_head(a.qkv, s, h, unit, config),
                          a.attention + s * unit.positions * c + h * config.head_size(), c,
                          a.log_sum_exp + h * r + s * unit.positions, w.scores);
      }
    }
    linear(a.attention, p(t.attn_proj_weight), w.branch, r, c, c);
    k.residual_layernorm(a.input, w.branch, p(t.attn_proj_bias), p(t.ln_2_weight), p(t.ln_2_bias),
                         a.middle, a.ln_2, a.mean_2, a.rstd_2, r, c);

    linear(a.ln_2, p(t.c_fc_weight), a.fc, r, c, 4 * c);
    k.bias_gelu(p(t.c_fc_bias), a.fc, a.gelu, r, 4 * c);
    linear(a.gelu, p(t.mlp_proj_weight), w.branch, r, 4 * c, c);
    // The layer's output and the norm that follows it: the next layer's first, or the last.
    if (l + 1 < config.layers) {
      const LayerTensors& next = layout_.layer(l + 1);
      const LayerActivations& b = w.layers[l + 1];
      k.residual_layernorm(a.middle, w.branch, p(t.mlp_proj_bias), p(next.ln_1_weight),
                           p(next.ln_1_bias), b.input, b.ln_1, b.mean_1, b.rstd_1, r, c);
    } else {
      k.residual_layernorm(a.middle, w.branch, p(t.mlp_proj_bias), p(layout_.ln_f_weight()),
                           p(layout_.ln_f_bias()), w.last, w.ln_f, w.mean_f, w.rstd_f, r, c);
    }
  }
}

double Gpt::head(const float* parameters, const Unit& unit, Workspace& w) const {
  const std::size_t c = layout_.config().channels, v = layout_.config().vocabulary;
  for (std::size_t first = 0; first < unit.rows(); first += w.head_rows()) {
    const std::size_t rows = std::min(w.head_rows(), unit.rows() - first);
    linear(w.ln_f + first * c, at(parameters, layout_.wte()), w.logits, rows, c, v);
    kernels_->cross_entropy(w.logits, unit.targets + first, w.losses + first, rows, v);
  }
  return total(w.losses, unit.rows());
}

double Gpt::head_backward(const float* parameters, const Unit& unit, float scale, Workspace& w,
                          float* gradient) const {
  const std::size_t c = layout_.config().channels, v = layout_.config().vocabulary;
  const float* wte = at(parameters, layout_.wte());
  float* dwte = at(gradient, layout_.wte());
  // Logits become their gradients in place, a few rows at a time: (R, V) never exists as a whole.
  for (std::size_t first = 0; first < unit.rows(); first += w.head_rows()) {
    const std::size_t rows = std::min(w.head_rows(), unit.rows() - first);
    linear(w.ln_f + first * c, wte, w.logits, rows, c, v);
    kernels_->cross_entropy_backward(w.logits, unit.targets + first, w.losses + first, scale, rows,
                                     v);
    linear_backward_weight(w.logits, w.ln_f + first * c, dwte, rows, c, v);
    linear_backward_input(w.logits, wte, w.dnorm + first * c, rows, c, v);
  }
  std::fill_n(w.dresidual, unit.rows() * c, 0.0f);
  kernels_->layernorm_backward(
      w.dnorm, w.last, w.mean_f, w.rstd_f, at(parameters, layout_.ln_f_weight()), w.dresidual,
      at(gradient, layout_.ln_f_weight()), at(gradient, layout_.ln_f_bias()), unit.rows(), c);
  return total(w.losses, unit.rows());
}

void Gpt::layer_backward(const float* parameters, std::size_t l, const Unit& unit, Workspace& w,
                         float* gradient) const {
  const ModelConfig& config = layout_.config();
  const kernels::Kernels& k = *kernels_;
  const LayerTensors& t = layout_.layer(l);
  const LayerActivations& a = w.layers[l];
  const std::size_t r = unit.rows(), c = config.channels;
  const auto p = [&](std::size_t tensor) { return at(parameters, tensor); };
  const auto g = [&](std::size_t tensor) { return at(gradient, tensor); };

  // dresidual is the gradient of the layer's output; each branch adds what flows through it.
  k.add_column_sums(w.dresidual, g(t.mlp_proj_bias), r, c);
  linear_backward_weight(w.dresidual, a.gelu, g(t.mlp_proj_weight), r, 4 * c, c);
  linear_backward_input(w.dresidual, p(t.mlp_proj_weight), w.dhidden, r, 4 * c, c);
  k.gelu_backward(a.fc, w.dhidden, w.dhidden, r * 4 * c);
  k.add_column_sums(w.dhidden, g(t.c_fc_bias), r, 4 * c);
  linear_backward_weight(w.dhidden, a.ln_2, g(t.c_fc_weight), r, c, 4 * c);
  linear_backward_input(w.dhidden, p(t.c_fc_weight), w.dnorm, r, c, 4 * c);
  k.layernorm_backward(w.dnorm, a.middle, a.mean_2, a.rstd_2, p(t.ln_2_weight), w.dresidual,
                       g(t.ln_2_weight), g(t.ln_2_bias), r, c);

  k.add_column_sums(w.dresidual, g(t.attn_proj_bias), r, c);
  linear_backward_weight(w.dresidual, a.attention, g(t.attn_proj_weight), r, c, c);
  float* dattention = w.branch;
  linear_backward_input(w.dresidual, p(t.attn_proj_weight), dattention, r, c, c);
  float* dqkv = w.dhidden;
  for (std::size_t s = 0; s < unit.sequences; ++s) {
    for (std::size_t h = 0; h < config.heads; ++h) {
      const std::size_t out = s * unit.positions * c + h * config.head_size();
      float* dq = dqkv + s * unit.positions * 3 * c + h * config.head_size();
      attention_backward(k, attention_head(a.qkv, s, h, unit, config), a.attention + out,
                         dattention + out, c, a.log_sum_exp + h * r + s * unit.positions, dq,
                         dq + c, dq + 2 * c, w.scores, w.dscores, w.delta);
    }
  }
  k.add_column_sums(dqkv, g(t.c_attn_bias), r, 3 * c);
  linear_backward_weight(dqkv, a.ln_1, g(t.c_attn_weight), r, c, 3 * c);
  linear_backward_input(dqkv, p(t.c_attn_weight), w.dnorm, r, c, 3 * c);
  k.layernorm_backward(w.dnorm, a.input, a.mean_1, a.rstd_1, p(t.ln_1_weight), w.dresidual,
                       g(t.ln_1_weight), g(t.ln_1_bias), r, c);
}

void Gpt::embedding_backward(const Unit& unit, Workspace& w, float* gradient) const {
  const std::size_t c = layout_.config().channels;
  float* dwte = at(gradient, layout_.wte());
  float* dwpe = at(gradient, layout_.wpe());
  for (std::size_t row = 0; row < unit.rows(); ++row) {
    const float* d = w.dresidual + row * c;
    kernels_->add(d, dwte + unit.inputs[row] * c, c);
    kernels_->add(d, dwpe + row % unit.positions * c, c);
  }
}

}  // namespace cllm::model
