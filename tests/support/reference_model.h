#pragma once

#include <algorithm>
#include <cmath>
#include <complex>
#include <cstddef>
#include <cstdint>
#include <numbers>
#include <span>
#include <stdexcept>
#include <utility>
#include <vector>

#include "cllm/model/layout.h"

/// GPT-2 (Radford et al., "Language Models are Unsupervised Multitask Learners", 2019) written
/// like the mathematics, slowly, and for any scalar T: float, double, or std::complex<double>,
/// on which every function here is analytic, so that Im f(x + ih) / h is df/dx without
/// cancellation (Squire and Trapp, "Using Complex Variables to Estimate Derivatives of Real
/// Functions", SIAM Review 40(1), 1998).
namespace cllm::support {

/// Rows × columns values of its own, row after row; zero at first.
template <typename T>
struct Matrix {
  Matrix() = default;
  Matrix(std::size_t rows_, std::size_t columns_)
      : rows(rows_), columns(columns_), values(rows_ * columns_) {}

  T& operator()(std::size_t i, std::size_t j) { return values[i * columns + j]; }
  const T& operator()(std::size_t i, std::size_t j) const { return values[i * columns + j]; }

  std::size_t rows = 0;
  std::size_t columns = 0;
  std::vector<T> values;
};

/// How many sequences of how many positions a batch has; its matrices have one row per position,
/// sequence after sequence.
struct BatchShape {
  std::size_t sequences;  // B
  std::size_t positions;  // T

  std::size_t rows() const { return sequences * positions; }
};

/// The tensor `index` of a flat buffer; a vector is one column.
template <typename T>
Matrix<T> tensor_of(const model::Layout& layout, std::span<const T> buffer, std::size_t index) {
  const model::Tensor& tensor = layout[index];
  Matrix<T> result(tensor.rows, tensor.columns);
  const std::span<const T> values = buffer.subspan(tensor.offset, tensor.size());
  result.values.assign(values.begin(), values.end());
  return result;
}

/// a + b
template <typename T>
Matrix<T> sum(Matrix<T> a, const Matrix<T>& b) {
  for (std::size_t i = 0; i < a.values.size(); ++i) a.values[i] += b.values[i];
  return a;
}

/// y = x·Wᵀ + b: x (N, in), W (out, in), b (out), y (N, out)
template <typename T>
Matrix<T> linear(const Matrix<T>& x, const Matrix<T>& w, const Matrix<T>& b) {
  Matrix<T> y(x.rows, w.rows);
  for (std::size_t n = 0; n < x.rows; ++n) {
    for (std::size_t o = 0; o < w.rows; ++o) {
      T total = b(o, 0);
      for (std::size_t i = 0; i < x.columns; ++i) total += x(n, i) * w(o, i);
      y(n, o) = total;
    }
  }
  return y;
}

/// One row's (x − mean) / standard deviation, and that deviation.
template <typename T>
struct Standardised {
  std::vector<T> values;  // (C)
  T deviation;            // √(variance + ε), of the biased variance
};

inline constexpr double kLayerNormEpsilon = 1e-5;

template <typename T>
Standardised<T> standardise(const Matrix<T>& x, std::size_t row) {
  const T count = T(static_cast<double>(x.columns));
  T mean{};
  for (std::size_t i = 0; i < x.columns; ++i) mean += x(row, i) / count;
  T variance{};
  for (std::size_t i = 0; i < x.columns; ++i) {
    variance += (x(row, i) - mean) * (x(row, i) - mean) / count;
  }
  Standardised<T> result{std::vector<T>(x.columns), std::sqrt(variance + T(kLayerNormEpsilon))};
  for (std::size_t i = 0; i < x.columns; ++i) {
    result.values[i] = (x(row, i) - mean) / result.deviation;
  }
  return result;
}

/// Each row of x (N, C) standardised, times gain (C), plus bias (C). Ba, Kiros, Hinton: "Layer
/// Normalization", 2016.
template <typename T>
Matrix<T> layer_norm(const Matrix<T>& x, const Matrix<T>& gain, const Matrix<T>& bias) {
  Matrix<T> y(x.rows, x.columns);
  for (std::size_t n = 0; n < x.rows; ++n) {
    const Standardised<T> standard = standardise(x, n);
    for (std::size_t i = 0; i < x.columns; ++i) {
      y(n, i) = standard.values[i] * gain(i, 0) + bias(i, 0);
    }
  }
  return y;
}

/// exp(s_i) / Σ exp(s_j) and the log of that sum. The largest real part is a constant that
/// cancels: it prevents overflow and leaves the function analytic.
template <typename T>
std::pair<std::vector<T>, T> softmax(std::span<const T> s) {
  auto largest = std::real(s[0]);
  for (const T& value : s) largest = std::max(largest, std::real(value));
  T total{};
  std::vector<T> p(s.size());
  for (std::size_t i = 0; i < s.size(); ++i) total += p[i] = std::exp(s[i] - T(largest));
  for (T& value : p) value /= total;
  return {p, std::log(total) + T(largest)};
}

/// Where q, k and v of one head lie in the columns of c_attn's output (N, 3C).
struct HeadColumns {
  HeadColumns(std::size_t channels, std::size_t heads, std::size_t head)
      : size(channels / heads), q(head * size), k(channels + q), v(2 * channels + q) {}
  std::size_t size, q, k, v;
};

/// softmax(q_t·k_u / √d) over the positions u ≤ t of one sequence, which begins at row `first`.
template <typename T>
std::vector<T> attention_weights(const Matrix<T>& qkv, const HeadColumns& head, std::size_t first,
                                 std::size_t t) {
  const T scale = T(1 / std::sqrt(static_cast<double>(head.size)));
  std::vector<T> scores(t + 1);
  for (std::size_t u = 0; u <= t; ++u) {
    for (std::size_t i = 0; i < head.size; ++i) {
      scores[u] += qkv(first + t, head.q + i) * qkv(first + u, head.k + i) * scale;
    }
  }
  return softmax(std::span<const T>(scores)).first;
}

/// Causal attention: qkv (N, 3C) to (N, C), heads side by side. Vaswani et al., "Attention Is All
/// You Need", 2017, 3.2.
template <typename T>
Matrix<T> attention(const Matrix<T>& qkv, const BatchShape& shape, std::size_t heads) {
  const std::size_t channels = qkv.columns / 3;
  Matrix<T> y(qkv.rows, channels);
  for (std::size_t b = 0; b < shape.sequences; ++b) {
    const std::size_t first = b * shape.positions;
    for (std::size_t h = 0; h < heads; ++h) {
      const HeadColumns head(channels, heads, h);
      for (std::size_t t = 0; t < shape.positions; ++t) {
        const std::vector<T> weights = attention_weights(qkv, head, first, t);
        for (std::size_t u = 0; u <= t; ++u) {
          for (std::size_t i = 0; i < head.size; ++i) {
            y(first + t, head.q + i) += weights[u] * qkv(first + u, head.v + i);
          }
        }
      }
    }
  }
  return y;
}

inline constexpr double kGeluCubic = 0.044715;

/// The tanh form of Hendrycks and Gimpel, "Gaussian Error Linear Units", 2016.
template <typename T>
Matrix<T> gelu(const Matrix<T>& x) {
  const T scale = T(std::sqrt(2 / std::numbers::pi));
  Matrix<T> y(x.rows, x.columns);
  for (std::size_t i = 0; i < x.values.size(); ++i) {
    const T a = x.values[i];
    y.values[i] = T(0.5) * a * (T(1) + std::tanh(scale * (a + T(kGeluCubic) * a * a * a)));
  }
  return y;
}

/// What one transformer layer computes on its way, in order.
template <typename T>
struct LayerTrace {
  Matrix<T> x;         // (N, C): the residual stream as it comes in
  Matrix<T> norm_1;    // (N, C)
  Matrix<T> qkv;       // (N, 3C)
  Matrix<T> attended;  // (N, C)
  Matrix<T> middle;    // (N, C): the residual stream after attention
  Matrix<T> norm_2;    // (N, C)
  Matrix<T> fc;        // (N, 4C)
  Matrix<T> active;    // (N, 4C)
};

/// What the model computes on its way.
template <typename T>
struct Trace {
  std::vector<LayerTrace<T>> layers;
  Matrix<T> x;       // (N, C): the residual stream after the last layer
  Matrix<T> norm;    // (N, C)
  Matrix<T> logits;  // (N, V)
};

/// The token embedding (V, C); of a reduced one the product of codes and basis.
template <typename T>
Matrix<T> token_table(const model::Layout& layout, std::span<const T> parameters) {
  const Matrix<T> table = tensor_of(layout, parameters, layout.embedding());
  if (!layout.config().is_factorised()) return table;
  const Matrix<T> basis = tensor_of(layout, parameters, layout.embedding_basis());
  Matrix<T> product(table.rows, basis.columns);
  for (std::size_t v = 0; v < table.rows; ++v) {
    for (std::size_t i = 0; i < basis.columns; ++i) {
      for (std::size_t k = 0; k < basis.rows; ++k) product(v, i) += table(v, k) * basis(k, i);
    }
  }
  return product;
}

/// The model's forward pass over inputs (B, T). Throws std::invalid_argument where sizes or
/// tokens don't fit the layout.
template <typename T>
Trace<T> reference_forward(const model::Layout& layout, std::span<const T> parameters,
                           std::span<const std::uint32_t> inputs, const BatchShape& shape) {
  const model::ModelConfig& config = layout.config();
  const auto known = [&](std::uint32_t token) { return token < config.vocabulary; };
  if (parameters.size() != layout.flat_size() || inputs.size() != shape.rows() ||
      shape.rows() == 0 || shape.positions > config.context ||
      !std::all_of(inputs.begin(), inputs.end(), known)) {
    throw std::invalid_argument("the reference model's parameters or inputs do not fit the layout");
  }
  const auto tensor = [&](std::size_t index) { return tensor_of(layout, parameters, index); };

  const Matrix<T> wte = token_table(layout, parameters);
  const Matrix<T> wpe = tensor(*layout.wpe());
  Matrix<T> x(shape.rows(), config.channels);
  for (std::size_t n = 0; n < x.rows; ++n) {
    for (std::size_t i = 0; i < x.columns; ++i) {
      x(n, i) = wte(inputs[n], i) + wpe(n % shape.positions, i);
    }
  }

  Trace<T> trace;
  for (std::size_t l = 0; l < config.layers; ++l) {
    const model::LayerTensors& t = layout.layer(l);
    LayerTrace<T> layer;
    layer.x = x;
    layer.norm_1 = layer_norm(layer.x, tensor(*t.ln_1.gain), tensor(*t.ln_1.shift));
    layer.qkv = linear(layer.norm_1, tensor(t.c_attn_weight), tensor(*t.c_attn_bias));
    layer.attended = attention(layer.qkv, shape, config.heads);
    layer.middle =
        sum(layer.x, linear(layer.attended, tensor(t.attn_proj_weight), tensor(*t.attn_proj_bias)));
    layer.norm_2 = layer_norm(layer.middle, tensor(*t.ln_2.gain), tensor(*t.ln_2.shift));
    layer.fc = linear(layer.norm_2, tensor(t.c_fc_weight), tensor(*t.c_fc_bias));
    layer.active = gelu(layer.fc);
    x = sum(layer.middle, linear(layer.active, tensor(t.mlp_proj_weight), tensor(*t.mlp_proj_bias)));
    trace.layers.push_back(std::move(layer));
  }
  trace.x = std::move(x);
  trace.norm = layer_norm(trace.x, tensor(*layout.ln_f().gain), tensor(*layout.ln_f().shift));
  trace.logits = linear(trace.norm, wte, Matrix<T>(wte.rows, 1));
  return trace;
}

/// Throws std::invalid_argument unless there is a target in the vocabulary for each row of logits.
template <typename T>
void check_targets(const Matrix<T>& logits, std::span<const std::uint32_t> targets) {
  const auto known = [&](std::uint32_t target) { return target < logits.columns; };
  if (targets.size() != logits.rows || !std::all_of(targets.begin(), targets.end(), known)) {
    throw std::invalid_argument("the reference model's targets do not fit the batch");
  }
}

/// Mean over all positions of −log softmax(logits)[target]: logits (N, V), targets (N).
template <typename T>
T cross_entropy(const Matrix<T>& logits, std::span<const std::uint32_t> targets) {
  check_targets(logits, targets);
  T total{};
  for (std::size_t n = 0; n < logits.rows; ++n) {
    const std::span row(&logits(n, 0), logits.columns);
    total += softmax(row).second - row[targets[n]];
  }
  return total / T(static_cast<double>(logits.rows));
}

/// Mean cross-entropy of the targets (B, T) after the inputs (B, T), with parameters in a flat
/// buffer by the layout; `positions` may be fewer than the context. Throws std::invalid_argument
/// where the batch does not fit the layout.
template <typename T>
T reference_loss(const model::Layout& layout, std::span<const T> parameters,
                 std::span<const std::uint32_t> inputs, std::span<const std::uint32_t> targets,
                 std::size_t sequences, std::size_t positions) {
  const Trace<T> trace = reference_forward(layout, parameters, inputs, {sequences, positions});
  return cross_entropy(trace.logits, targets);
}

}  // namespace cllm::support
