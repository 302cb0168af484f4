#pragma once

#include <algorithm>
#include <cmath>
#include <complex>
#include <cstddef>
#include <cstdint>
#include <numbers>
#include <span>
#include <vector>

#include "cllm/model/layout.h"
#include "support/reference_model.h"

/// The gradient of the reference model's loss, twice: by the complex step, which knows nothing of
/// differentiation and costs a forward pass per parameter, and by a plain backward pass, which
/// reference_test.cc proves by the former. Each `…_backward` takes what the forward function took
/// and the gradient of what it returned, and returns the gradient of its first argument; gradients
/// of parameters are added to matrices that the caller gives.
namespace cllm::support {

/// dL/dθ_i = Im L(θ + ih e_i) / h for the parameter at `index` of the flat buffer. The error is
/// O(h²), far below rounding.
inline double complex_step_gradient(const model::Layout& layout, std::span<const double> parameters,
                                    std::size_t index, std::span<const std::uint32_t> inputs,
                                    std::span<const std::uint32_t> targets, std::size_t sequences,
                                    std::size_t positions) {
  constexpr double kStep = 1e-30;
  std::vector<std::complex<double>> moved(parameters.begin(), parameters.end());
  moved[index] += std::complex<double>(0, kStep);
  return std::imag(reference_loss(layout, std::span<const std::complex<double>>(moved), inputs,
                                  targets, sequences, positions)) /
         kStep;
}

/// dx = dy·W, dW += dyᵀ·x, db += Σ_n dy_n
template <typename T>
Matrix<T> linear_backward(const Matrix<T>& x, const Matrix<T>& w, const Matrix<T>& dy,
                          Matrix<T>& dw, Matrix<T>& db) {
  Matrix<T> dx(x.rows, x.columns);
  for (std::size_t n = 0; n < x.rows; ++n) {
    for (std::size_t o = 0; o < w.rows; ++o) {
      for (std::size_t i = 0; i < x.columns; ++i) {
        dx(n, i) += dy(n, o) * w(o, i);
        dw(o, i) += dy(n, o) * x(n, i);
      }
      db(o, 0) += dy(n, o);
    }
  }
  return dx;
}

/// With x̂ the standardised row, σ its deviation and g = dy·gain:
/// dx = (g − mean(g) − x̂ mean(g·x̂)) / σ, dgain += dy·x̂, dbias += dy
template <typename T>
Matrix<T> layer_norm_backward(const Matrix<T>& x, const Matrix<T>& gain, const Matrix<T>& dy,
                              Matrix<T>& dgain, Matrix<T>& dbias) {
  const T count = T(static_cast<double>(x.columns));
  Matrix<T> dx(x.rows, x.columns);
  for (std::size_t n = 0; n < x.rows; ++n) {
    const auto [standard, deviation] = standardise(x, n);
    T mean{};
    T mean_with_x{};
    for (std::size_t i = 0; i < x.columns; ++i) {
      const T g = dy(n, i) * gain(i, 0);
      mean += g / count;
      mean_with_x += g * standard[i] / count;
      dgain(i, 0) += dy(n, i) * standard[i];
      dbias(i, 0) += dy(n, i);
    }
    for (std::size_t i = 0; i < x.columns; ++i) {
      dx(n, i) = (dy(n, i) * gain(i, 0) - mean - standard[i] * mean_with_x) / deviation;
    }
  }
  return dx;
}

/// With p the weights of position t: dv_u += p_u dy_t; dp_u = dy_t·v_u; ds_u = p_u (dp_u − Σ p dp);
/// dq_t += ds_u k_u / √d; dk_u += ds_u q_t / √d
template <typename T>
Matrix<T> attention_backward(const Matrix<T>& qkv, const BatchShape& shape, std::size_t heads,
                             const Matrix<T>& dy) {
  Matrix<T> dqkv(qkv.rows, qkv.columns);
  for (std::size_t b = 0; b < shape.sequences; ++b) {
    const std::size_t first = b * shape.positions;
    for (std::size_t h = 0; h < heads; ++h) {
      const HeadColumns head(qkv.columns / 3, heads, h);
      const T scale = T(1 / std::sqrt(static_cast<double>(head.size)));
      for (std::size_t t = 0; t < shape.positions; ++t) {
        const std::vector<T> p = attention_weights(qkv, head, first, t);
        std::vector<T> dp(t + 1);
        T expected_dp{};
        for (std::size_t u = 0; u <= t; ++u) {
          for (std::size_t i = 0; i < head.size; ++i) {
            dp[u] += dy(first + t, head.q + i) * qkv(first + u, head.v + i);
            dqkv(first + u, head.v + i) += p[u] * dy(first + t, head.q + i);
          }
          expected_dp += p[u] * dp[u];
        }
        for (std::size_t u = 0; u <= t; ++u) {
          const T ds = p[u] * (dp[u] - expected_dp) * scale;
          for (std::size_t i = 0; i < head.size; ++i) {
            dqkv(first + t, head.q + i) += ds * qkv(first + u, head.k + i);
            dqkv(first + u, head.k + i) += ds * qkv(first + t, head.q + i);
          }
        }
      }
    }
  }
  return dqkv;
}

/// With z = √(2/π)(x + c x³): dx = dy (½ (1 + tanh z) + ½ x (1 − tanh² z) √(2/π)(1 + 3c x²))
template <typename T>
Matrix<T> gelu_backward(const Matrix<T>& x, const Matrix<T>& dy) {
  const T scale = T(std::sqrt(2 / std::numbers::pi));
  const T cubic = T(kGeluCubic);
  Matrix<T> dx(x.rows, x.columns);
  for (std::size_t i = 0; i < x.values.size(); ++i) {
    const T a = x.values[i];
    const T tanh_z = std::tanh(scale * (a + cubic * a * a * a));
    const T dz = scale * (T(1) + T(3) * cubic * a * a);
    dx.values[i] = dy.values[i] * T(0.5) * (T(1) + tanh_z + a * (T(1) - tanh_z * tanh_z) * dz);
  }
  return dx;
}

/// dlogits = (softmax(logits) − onehot(target)) / N
template <typename T>
Matrix<T> cross_entropy_backward(const Matrix<T>& logits, std::span<const std::uint32_t> targets) {
  check_targets(logits, targets);
  const T count = T(static_cast<double>(logits.rows));
  Matrix<T> dlogits(logits.rows, logits.columns);
  for (std::size_t n = 0; n < logits.rows; ++n) {
    const std::vector<T> p = softmax(std::span(&logits(n, 0), logits.columns)).first;
    for (std::size_t v = 0; v < logits.columns; ++v) {
      dlogits(n, v) = (p[v] - (v == targets[n] ? T(1) : T(0))) / count;
    }
  }
  return dlogits;
}

/// Of codes (V, r) and basis (r, C), from that of their product (V, C).
template <typename T>
void token_table_backward(const Matrix<T>& codes, const Matrix<T>& basis, const Matrix<T>& dtable,
                          Matrix<T>& dcodes, Matrix<T>& dbasis) {
  for (std::size_t v = 0; v < codes.rows; ++v) {
    for (std::size_t k = 0; k < codes.columns; ++k) {
      for (std::size_t i = 0; i < basis.columns; ++i) {
        dcodes(v, k) += dtable(v, i) * basis(k, i);
        dbasis(k, i) += dtable(v, i) * codes(v, k);
      }
    }
  }
}

/// The gradient of `reference_loss` as a flat buffer by the layout, by a backward pass in T (float
/// or double). Padding between tensors is zero. Throws as `reference_loss` does.
template <typename T>
std::vector<T> reference_gradients(const model::Layout& layout, std::span<const T> parameters,
                                   std::span<const std::uint32_t> inputs,
                                   std::span<const std::uint32_t> targets, std::size_t sequences,
                                   std::size_t positions) {
  const model::ModelConfig& config = layout.config();
  const BatchShape shape{sequences, positions};
  const Trace<T> trace = reference_forward(layout, parameters, inputs, shape);

  const auto tensor = [&](std::size_t index) { return tensor_of(layout, parameters, index); };
  std::vector<Matrix<T>> d;  // one per tensor of the layout
  for (const model::Tensor& t : layout.tensors()) d.emplace_back(t.rows, t.columns);

  const Matrix<T> dlogits = cross_entropy_backward(trace.logits, targets);
  Matrix<T> no_bias(config.vocabulary, 1);  // the head has none
  Matrix<T> dtable(config.vocabulary, config.channels);
  const Matrix<T> dnorm =
      linear_backward(trace.norm, token_table(layout, parameters), dlogits, dtable, no_bias);
  Matrix<T> dx = layer_norm_backward(trace.x, tensor(*layout.ln_f().gain), dnorm,
                                     d[*layout.ln_f().gain], d[*layout.ln_f().shift]);

  for (std::size_t l = config.layers; l-- > 0;) {
    const model::LayerTensors& t = layout.layer(l);
    const LayerTrace<T>& layer = trace.layers[l];
    const Matrix<T> dactive = linear_backward(layer.active, tensor(t.mlp_proj_weight), dx,
                                              d[t.mlp_proj_weight], d[*t.mlp_proj_bias]);
    const Matrix<T> dfc = gelu_backward(layer.fc, dactive);
    const Matrix<T> dnorm_2 =
        linear_backward(layer.norm_2, tensor(t.c_fc_weight), dfc, d[t.c_fc_weight], d[*t.c_fc_bias]);
    dx = sum(dx, layer_norm_backward(layer.middle, tensor(*t.ln_2.gain), dnorm_2, d[*t.ln_2.gain],
                                     d[*t.ln_2.shift]));
    const Matrix<T> dattended = linear_backward(layer.attended, tensor(t.attn_proj_weight), dx,
                                                d[t.attn_proj_weight], d[*t.attn_proj_bias]);
    const Matrix<T> dqkv = attention_backward(layer.qkv, shape, config.heads, dattended);
    const Matrix<T> dnorm_1 = linear_backward(layer.norm_1, tensor(t.c_attn_weight), dqkv,
                                              d[t.c_attn_weight], d[*t.c_attn_bias]);
    dx = sum(dx, layer_norm_backward(layer.x, tensor(*t.ln_1.gain), dnorm_1, d[*t.ln_1.gain],
                                     d[*t.ln_1.shift]));
  }

  for (std::size_t n = 0; n < shape.rows(); ++n) {
    for (std::size_t i = 0; i < config.channels; ++i) {
      dtable(inputs[n], i) += dx(n, i);
      d[*layout.wpe()](n % positions, i) += dx(n, i);
    }
  }

  if (config.is_factorised()) {
    token_table_backward(tensor(layout.embedding()), tensor(layout.embedding_basis()), dtable,
                         d[layout.embedding()], d[layout.embedding_basis()]);
  } else {
    d[layout.embedding()] = dtable;
  }

  std::vector<T> buffer(layout.flat_size());
  for (std::size_t index = 0; index < d.size(); ++index) {
    std::copy(d[index].values.begin(), d[index].values.end(),
              buffer.begin() + static_cast<std::ptrdiff_t>(layout[index].offset));
  }
  return buffer;
}

}  // namespace cllm::support
