#include <cmath>

#include "reference.h"

namespace cllm::kernels {
namespace {

using reference::narrow;
using reference::wide;

// --- GELU ----------------------------------------------------------------------------------------

constexpr double kRootTwoOverPi = 0.79788456080286535588;
constexpr double kCubic = 0.044715;

/// (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) / 2, which is the logistic function of twice the
/// argument; written so, nothing cancels for negative x.
double gelu_gate(double x) {
  return 1 / (1 + std::exp(-2 * kRootTwoOverPi * (x + kCubic * x * x * x)));
}

void gelu(const float* x, float* y, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) {
    y[i] = narrow(wide(x[i]) * gelu_gate(x[i]));
  }
}

void bias_gelu(const float* bias, float* x, float* y, std::size_t rows, std::size_t columns) {
  for (std::size_t row = 0; row < rows; ++row) {
    for (std::size_t column = 0; column < columns; ++column) {
      x[row * columns + column] += bias[column];
    }
  }
  gelu(x, y, rows * columns);
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

// --- SwiGLU --------------------------------------------------------------------------------------

double logistic(double x) { return 1 / (1 + std::exp(-x)); }

void swiglu(const float* x, float* y, std::size_t rows, std::size_t width) {
  for (std::size_t row = 0; row < rows; ++row, x += 2 * width, y += width) {
    for (std::size_t i = 0; i < width; ++i) {
      const double gate = x[i], value = x[width + i];
      y[i] = narrow(gate * logistic(gate) * value);
    }
  }
}

void swiglu_backward(const float* x, const float* dy, float* dx, std::size_t rows,
                     std::size_t width) {
  for (std::size_t row = 0; row < rows; ++row, x += 2 * width, dx += 2 * width, dy += width) {
    for (std::size_t i = 0; i < width; ++i) {
      const double gate = x[i], value = x[width + i];
      // logistic' (x) = logistic(x) (1 - logistic(x)); 1 - logistic(x) = logistic(-x).
      const double slope = logistic(gate) * (1 + gate * logistic(-gate));
      dx[i] = narrow(wide(dy[i]) * value * slope);
      dx[width + i] = narrow(wide(dy[i]) * gate * logistic(gate));
    }
  }
}

// --- Squared ReLU --------------------------------------------------------------------------------

/// NaN stays NaN.
double positive_part(double x) { return x < 0 ? 0 : x; }

void relu2(const float* x, float* y, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) {
    y[i] = narrow(positive_part(x[i]) * positive_part(x[i]));
  }
}

void relu2_backward(const float* x, const float* dy, float* dx, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) {
    dx[i] = narrow(wide(dy[i]) * 2 * positive_part(x[i]));
  }
}

}  // namespace

void reference::set_layers(Kernels& table) {
  table.bias_gelu = bias_gelu;
  table.gelu = gelu;
  table.gelu_backward = gelu_backward;
  table.swiglu = swiglu;
  table.swiglu_backward = swiglu_backward;
  table.relu2 = relu2;
  table.relu2_backward = relu2_backward;
}

}  // namespace cllm::kernels
