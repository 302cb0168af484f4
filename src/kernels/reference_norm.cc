#include <cmath>

#include "reference.h"

namespace cllm::kernels {
namespace {

using reference::narrow;
using reference::wide;

// --- What is normalised
// ---------------------------------------------------------------------------

/// sum = x + branch [+ bias].
void add_branch(const float* x, const float* branch, const float* bias, float* sum,
                std::size_t rows, std::size_t channels) {
  for (std::size_t row = 0; row < rows; ++row) {
    for (std::size_t c = 0; c < channels; ++c) {
      const std::size_t i = row * channels + c;
      sum[i] = x[i] + (bias == nullptr ? branch[i] : branch[i] + bias[c]);
    }
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
  add_branch(x, branch, bias, sum, rows, channels);
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

// --- RMS norm ------------------------------------------------------------------------------------

double gain_at(const float* gain, std::size_t i) { return gain == nullptr ? 1 : wide(gain[i]); }

void rmsnorm(const float* x, std::size_t ldx, const float* gain, float* y, std::size_t ldy,
             float* rstd, float epsilon, std::size_t rows, std::size_t heads, std::size_t size) {
  for (std::size_t row = 0; row < rows; ++row) {
    for (std::size_t head = 0; head < heads; ++head) {
      const float* x_head = x + row * ldx + head * size;
      float* y_head = y + row * ldy + head * size;
      double squares = 0;
      for (std::size_t i = 0; i < size; ++i) {
        squares += wide(x_head[i]) * wide(x_head[i]);
      }
      const double scale = 1 / std::sqrt(squares / static_cast<double>(size) + wide(epsilon));
      for (std::size_t i = 0; i < size; ++i) {
        y_head[i] = narrow(wide(x_head[i]) * scale * gain_at(gain, i));
      }
      rstd[row * heads + head] = narrow(scale);
    }
  }
}

void residual_rmsnorm(const float* x, const float* branch, const float* bias, const float* gain,
                      float* sum, float* y, float* rstd, float epsilon, std::size_t rows,
                      std::size_t channels) {
  add_branch(x, branch, bias, sum, rows, channels);
  rmsnorm(sum, channels, gain, y, channels, rstd, epsilon, rows, 1, channels);
}

void rmsnorm_backward(const float* dy, std::size_t ldy, const float* x, std::size_t ldx,
                      const float* rstd, const float* gain, const float* base, float* dx,
                      std::size_t lddx, float* dgain, std::size_t rows, std::size_t heads,
                      std::size_t size) {
  for (std::size_t row = 0; row < rows; ++row) {
    for (std::size_t head = 0; head < heads; ++head) {
      const float* dy_head = dy + row * ldy + head * size;
      const float* x_head = x + row * ldx + head * size;
      const double scale = rstd[row * heads + head];
      double dot = 0;  // of the gradients of the normalised head with the normalised head
      for (std::size_t i = 0; i < size; ++i) {
        const double normal = wide(x_head[i]) * scale;
        dot += wide(dy_head[i]) * gain_at(gain, i) * normal;
        if (gain != nullptr) dgain[i] += narrow(wide(dy_head[i]) * normal);
      }
      const double mean_dot = dot / static_cast<double>(size);
      for (std::size_t i = 0; i < size; ++i) {
        const std::size_t at = row * lddx + head * size + i;
        const double dnormal = wide(dy_head[i]) * gain_at(gain, i);
        const double through = scale * (dnormal - wide(x_head[i]) * scale * mean_dot);
        dx[at] = narrow((base == nullptr ? 0 : wide(base[at])) + through);
      }
    }
  }
}

}  // namespace

void reference::set_norm(Kernels& table) {
  table.layernorm = layernorm;
  table.residual_layernorm = residual_layernorm;
  table.layernorm_backward = layernorm_backward;
  table.rmsnorm = rmsnorm;
  table.residual_rmsnorm = residual_rmsnorm;
  table.rmsnorm_backward = rmsnorm_backward;
}

}  // namespace cllm::kernels
