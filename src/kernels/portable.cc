#include <algorithm>
#include <cmath>
#include <limits>

#include "cllm/kernels/kernels.h"

/// Every element and every sum along a row is computed in double and rounded once, so this
/// implementation is also what the other one is measured against.
namespace cllm::kernels {
namespace {

double wide(float x) { return x; }
float narrow(double x) { return static_cast<float>(x); }

/// -inf for n = 0.
double max_of(const float* x, std::size_t n) {
  float max = -std::numeric_limits<float>::infinity();
  for (std::size_t i = 0; i < n; ++i) {
    max = std::max(max, x[i]);
  }
  return wide(max);
}

// --- Functions -----------------------------------------------------------------------------------

void exp(const float* x, float* y, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) {
    y[i] = narrow(std::exp(wide(x[i])));
  }
}

void log(const float* x, float* y, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) {
    y[i] = narrow(std::log(wide(x[i])));
  }
}

void tanh(const float* x, float* y, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) {
    y[i] = narrow(std::tanh(wide(x[i])));
  }
}

// --- Sums ----------------------------------------------------------------------------------------

void add(const float* x, float* y, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) {
    y[i] += x[i];
  }
}

void add_bias(const float* bias, float* x, std::size_t rows, std::size_t columns) {
  for (std::size_t row = 0; row < rows; ++row) {
    add(bias, x + row * columns, columns);
  }
}

void add_column_sums(const float* x, float* sums, std::size_t rows, std::size_t columns) {
  for (std::size_t row = 0; row < rows; ++row) {
    add(x + row * columns, sums, columns);
  }
}

double sum_of_squares(const float* x, std::size_t n) {
  double sum = 0;
  for (std::size_t i = 0; i < n; ++i) {
    sum += wide(x[i]) * wide(x[i]);
  }
  return sum;
}

void sparse_row(const std::uint32_t* columns, const float* values, std::size_t count,
                const float* x, std::size_t ld, float* y, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) {
    double sum = 0;
    for (std::size_t e = 0; e < count; ++e) {
      sum += wide(values[e]) * wide(x[columns[e] * ld + i]);
    }
    y[i] = narrow(sum);
  }
}

// --- Integer sums --------------------------------------------------------------------------------

/// Unsigned, because signed overflow is undefined.
std::int32_t add_modulo(std::int32_t a, std::int32_t b) {
  return static_cast<std::int32_t>(static_cast<std::uint32_t>(a) + static_cast<std::uint32_t>(b));
}

float largest(const float* x, std::size_t n) {
  float top = 0;
  for (std::size_t i = 0; i < n; ++i) {
    const float size = std::abs(x[i]);
    if (!(size <= top)) top = size;
    if (std::isnan(top)) return top;
  }
  return top;
}

/// The product is exact but for underflow, whose integer is 0.
std::int64_t round_product(float x, float scale) {
  return static_cast<std::int64_t>(std::nearbyint(x * scale));
}

void encode(const float* x, float scale, std::int32_t* sums, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) {
    sums[i] = static_cast<std::int32_t>(round_product(x[i], scale));
  }
}

void encode_add(const float* x, float scale, std::int32_t* sums, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) {
    sums[i] = add_modulo(sums[i], static_cast<std::int32_t>(round_product(x[i], scale)));
  }
}

void encode_add_wide(const float* x, float scale, std::int32_t* low, std::int32_t* high,
                     std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) {
    const double product = x[i] * scale;
    const double upper = std::nearbyint(product * 0x1p-30);
    low[i] =
        add_modulo(low[i], static_cast<std::int32_t>(std::nearbyint(product - upper * 0x1p30)));
    high[i] = add_modulo(high[i], static_cast<std::int32_t>(upper));
  }
}

void add_integers(const std::int32_t* x, std::int32_t* y, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) {
    y[i] = add_modulo(y[i], x[i]);
  }
}

IntegerNorm integer_norm(const std::int32_t* x, std::size_t n) {
  IntegerNorm norm = {};
  for (std::size_t i = 0; i < n; ++i) {
    const double value = x[i];
    norm.squares += value * value;
    norm.largest = std::max(norm.largest, static_cast<std::uint32_t>(std::abs(value)));
  }
  return norm;
}

// --- Sets ----------------------------------------------------------------------------------------

std::uint32_t shared_weight(const std::uint32_t* a, const std::uint32_t* weights, std::size_t na,
                            const std::uint32_t* b, std::size_t nb) {
  std::uint32_t sum = 0;
  for (std::size_t i = 0, j = 0; i < na && j < nb;) {
    if (a[i] == b[j]) sum += weights[i];
    const bool next_a = a[i] <= b[j], next_b = b[j] <= a[i];
    i += next_a;
    j += next_b;
  }
  return sum;
}

// --- GELU ----------------------------------------------------------------------------------------

constexpr double kRootTwoOverPi = 0.79788456080286535588;
constexpr double kCubic = 0.044715;

/// (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) / 2, which is the logistic function of twice the
/// argument; written so, nothing cancels for negative x.
double gelu_gate(double x) {
  return 1 / (1 + std::exp(-2 * kRootTwoOverPi * (x + kCubic * x * x * x)));
}

void bias_gelu(const float* bias, float* x, float* y, std::size_t rows, std::size_t columns) {
  add_bias(bias, x, rows, columns);
  for (std::size_t i = 0; i < rows * columns; ++i) {
    y[i] = narrow(wide(x[i]) * gelu_gate(x[i]));
  }
}

void gelu_backward(const float* x, const float* dy, float* dx, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) {
    const double gate = gelu_gate(x[i]);
    const double slope = 2 * kRootTwoOverPi * (1 + 3 * kCubic * wide(x[i]) * wide(x[i]));
    // gate (1 - gate) is gate's derivative by its argument; 1 - gate(x) = gate(-x).
    const double dgate = gate * gelu_gate(-wide(x[i])) * slope;
    dx[i] = narrow(wide(dy[i]) * (gate + wide(x[i]) * dgate));
  }
}

// --- LayerNorm -----------------------------------------------------------------------------------

void layernorm(const float* x, const float* gain, const float* shift, float* y, float* mean,
               float* rstd, std::size_t rows, std::size_t channels) {
  const double count = static_cast<double>(channels);
  for (std::size_t row = 0; row < rows; ++row, x += channels, y += channels) {
    double sum = 0;
    for (std::size_t c = 0; c < channels; ++c) {
      sum += wide(x[c]);
    }
    const double center = sum / count;
    double squares = 0;
    for (std::size_t c = 0; c < channels; ++c) {
      squares += (wide(x[c]) - center) * (wide(x[c]) - center);
    }
    const double scale = 1 / std::sqrt(squares / count + 1e-5);
    for (std::size_t c = 0; c < channels; ++c) {
      y[c] = narrow((wide(x[c]) - center) * scale * wide(gain[c]) + wide(shift[c]));
    }
    mean[row] = narrow(center);
    rstd[row] = narrow(scale);
  }
}

void residual_layernorm(const float* x, const float* branch, const float* bias, const float* gain,
                        const float* shift, float* sum, float* y, float* mean, float* rstd,
                        std::size_t rows, std::size_t channels) {
  for (std::size_t row = 0; row < rows; ++row) {
    for (std::size_t c = 0; c < channels; ++c) {
      const std::size_t i = row * channels + c;
      sum[i] = x[i] + (branch[i] + bias[c]);
    }
  }
  layernorm(sum, gain, shift, y, mean, rstd, rows, channels);
}

void layernorm_backward(const float* dy, const float* x, const float* mean, const float* rstd,
                        const float* gain, float* dx, float* dgain, float* dshift, std::size_t rows,
                        std::size_t channels) {
  const double count = static_cast<double>(channels);
  for (std::size_t row = 0; row < rows; ++row, dy += channels, x += channels, dx += channels) {
    const double center = mean[row];
    const double scale = rstd[row];
    double sum = 0;  // of the gradients of the normalised row
    double dot = 0;  // of those with the normalised row
    for (std::size_t c = 0; c < channels; ++c) {
      const double normal = (wide(x[c]) - center) * scale;
      const double dnormal = wide(dy[c]) * wide(gain[c]);
      sum += dnormal;
      dot += dnormal * normal;
      dgain[c] += narrow(wide(dy[c]) * normal);
      dshift[c] += dy[c];
    }
    for (std::size_t c = 0; c < channels; ++c) {
      const double normal = (wide(x[c]) - center) * scale;
      const double dnormal = wide(dy[c]) * wide(gain[c]);
      dx[c] += narrow(scale * (dnormal - sum / count - normal * dot / count));
    }
  }
}

// --- Attention -----------------------------------------------------------------------------------

void causal_softmax(float* scores, float* log_sum_exp, float scale, std::size_t visible,
                    std::size_t rows, std::size_t columns, std::size_t ld) {
  for (std::size_t row = 0; row < rows; ++row, scores += ld) {
    const std::size_t n = std::min(columns, visible + row);
    const double max = max_of(scores, n);
    double sum = 0;
    for (std::size_t i = 0; i < n; ++i) {
      sum += std::exp(wide(scale) * (wide(scores[i]) - max));
    }
    for (std::size_t i = 0; i < n; ++i) {
      scores[i] = narrow(std::exp(wide(scale) * (wide(scores[i]) - max)) / sum);
    }
    std::fill(scores + n, scores + columns, 0.0f);
    log_sum_exp[row] = narrow(wide(scale) * max + std::log(sum));
  }
}

void causal_probabilities(float* scores, const float* log_sum_exp, float scale, std::size_t visible,
                          std::size_t rows, std::size_t columns, std::size_t ld) {
  for (std::size_t row = 0; row < rows; ++row, scores += ld) {
    const std::size_t n = std::min(columns, visible + row);
    for (std::size_t i = 0; i < n; ++i) {
      const double exponent = wide(scale) * wide(scores[i]) - wide(log_sum_exp[row]);
      scores[i] = narrow(std::exp(exponent > 0 ? 0 : exponent));  // NaN stays
    }
    std::fill(scores + n, scores + columns, 0.0f);
  }
}

void softmax_backward(const float* p, float* dp, const float* delta, float scale, std::size_t rows,
                      std::size_t columns, std::size_t ld) {
  for (std::size_t row = 0; row < rows; ++row, p += ld, dp += ld) {
    for (std::size_t i = 0; i < columns; ++i) {
      dp[i] = narrow(wide(scale) * wide(p[i]) * (wide(dp[i]) - wide(delta[row])));
    }
  }
}

void row_dots(const float* a, const float* b, float* dots, std::size_t rows, std::size_t columns,
              std::size_t lda, std::size_t ldb) {
  for (std::size_t row = 0; row < rows; ++row, a += lda, b += ldb) {
    double dot = 0;
    for (std::size_t i = 0; i < columns; ++i) {
      dot += wide(a[i]) * wide(b[i]);
    }
    dots[row] = narrow(dot);
  }
}

// --- Loss ----------------------------------------------------------------------------------------

/// log(sum(exp(x))) = max + log_sum, with log_sum = log(sum(exp(x - max))): apart, so that a large
/// logit does not swallow the digits of the rest.
struct LogSumExp {
  double max;
  double log_sum;
};

LogSumExp log_sum_exp_of(const float* x, std::size_t n) {
  const double max = max_of(x, n);
  double sum = 0;
  for (std::size_t i = 0; i < n; ++i) {
    sum += std::exp(wide(x[i]) - max);
  }
  return {max, std::log(sum)};
}

void cross_entropy(const float* logits, const std::uint32_t* targets, float* losses,
                   std::size_t rows, std::size_t vocabulary) {
  for (std::size_t row = 0; row < rows; ++row, logits += vocabulary) {
    const auto [max, log_sum] = log_sum_exp_of(logits, vocabulary);
    losses[row] = narrow((max - wide(logits[targets[row]])) + log_sum);
  }
}

void cross_entropy_backward(float* logits, const std::uint32_t* targets, float* losses, float scale,
                            std::size_t rows, std::size_t vocabulary) {
  for (std::size_t row = 0; row < rows; ++row, logits += vocabulary) {
    const auto [max, log_sum] = log_sum_exp_of(logits, vocabulary);
    losses[row] = narrow((max - wide(logits[targets[row]])) + log_sum);
    for (std::size_t i = 0; i < vocabulary; ++i) {
      const double probability = std::exp((wide(logits[i]) - max) - log_sum);
      logits[i] = narrow(wide(scale) * (i == targets[row] ? probability - 1 : probability));
    }
  }
}

// --- Optimizer -----------------------------------------------------------------------------------

/// Gradient: float, or int32 for coordinates.
template <typename Gradient>
void adamw(float* parameter, float* m, float* v, const Gradient* gradient, std::size_t n,
           const AdamWStep& step) {
  const double beta1 = step.beta1;
  const double beta2 = step.beta2;
  for (std::size_t i = 0; i < n; ++i) {
    const double g = wide(static_cast<float>(gradient[i])) * wide(step.gradient_scale);
    const double m_new = beta1 * wide(m[i]) + (1 - beta1) * g;
    const double v_new = beta2 * wide(v[i]) + (1 - beta2) * g * g;
    const double root = std::sqrt(v_new / wide(step.bias_correction2));
    const double direction = m_new / wide(step.bias_correction1) / (root + wide(step.epsilon));
    const double p = parameter[i];
    m[i] = narrow(m_new);
    v[i] = narrow(v_new);
    parameter[i] = narrow(p - wide(step.learning_rate) * (direction + wide(step.weight_decay) * p));
  }
}

}  // namespace

const Kernels& portable_kernels() {
  static const Kernels table = {
      .name = "portable",
      .exp = exp,
      .log = log,
      .tanh = tanh,
      .add = add,
      .add_bias = add_bias,
      .add_column_sums = add_column_sums,
      .sum_of_squares = sum_of_squares,
      .sparse_row = sparse_row,
      .largest = largest,
      .encode = encode,
      .encode_add = encode_add,
      .encode_add_wide = encode_add_wide,
      .add_integers = add_integers,
      .integer_norm = integer_norm,
      .shared_weight = shared_weight,
      .bias_gelu = bias_gelu,
      .gelu_backward = gelu_backward,
      .layernorm = layernorm,
      .residual_layernorm = residual_layernorm,
      .layernorm_backward = layernorm_backward,
      .causal_softmax = causal_softmax,
      .causal_probabilities = causal_probabilities,
      .softmax_backward = softmax_backward,
      .row_dots = row_dots,
      .cross_entropy = cross_entropy,
      .cross_entropy_backward = cross_entropy_backward,
      .adamw = adamw<float>,
      .adamw_integers = adamw<std::int32_t>,
  };
  return table;
}

}  // namespace cllm::kernels
