#include <algorithm>
#include <cmath>

#include "reference.h"

namespace cllm::kernels {
namespace {

using reference::max_of;
using reference::narrow;
using reference::wide;

// --- Attention -----------------------------------------------------------------------------------

void causal_softmax(float* scores, float* log_sum_exp, float scale, std::size_t visible,
                    const std::uint32_t* begins, std::size_t rows, std::size_t columns,
                    std::size_t ld) {
  for (std::size_t row = 0; row < rows; ++row, scores += ld) {
    const std::size_t begin = begins == nullptr ? 0 : begins[row];
    const std::size_t n = std::min(columns, visible + row);
    const double max = max_of(scores + begin, n - begin);
    double sum = 0;
    std::fill(scores, scores + begin, 0.0f);
    for (std::size_t i = begin; i < n; ++i) {
      sum += std::exp(wide(scale) * (wide(scores[i]) - max));
    }
    for (std::size_t i = begin; i < n; ++i) {
      scores[i] = narrow(std::exp(wide(scale) * (wide(scores[i]) - max)) / sum);
    }
    std::fill(scores + n, scores + columns, 0.0f);
    log_sum_exp[row] = narrow(wide(scale) * max + std::log(sum));
  }
}

void causal_probabilities(float* scores, const float* log_sum_exp, float scale, std::size_t visible,
                          const std::uint32_t* begins, std::size_t rows, std::size_t columns,
                          std::size_t ld) {
  for (std::size_t row = 0; row < rows; ++row, scores += ld) {
    const std::size_t begin = begins == nullptr ? 0 : begins[row];
    const std::size_t n = std::min(columns, visible + row);
    std::fill(scores, scores + begin, 0.0f);
    for (std::size_t i = begin; i < n; ++i) {
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

// --- Rotary positions ----------------------------------------------------------------------------

void rotate(const float* x, std::size_t ldx, const float* cosines, const float* sines,
            float direction, float* y, std::size_t ldy, std::size_t rows, std::size_t heads,
            std::size_t size) {
  const std::size_t half = size / 2;
  for (std::size_t row = 0; row < rows; ++row, cosines += half, sines += half) {
    for (std::size_t head = 0; head < heads; ++head) {
      const float* x_head = x + row * ldx + head * size;
      float* y_head = y + row * ldy + head * size;
      for (std::size_t i = 0; i < half; ++i) {
        const double first = x_head[i], second = x_head[half + i];
        const double cosine = cosines[i], sine = wide(direction) * wide(sines[i]);
        y_head[i] = narrow(first * cosine - second * sine);
        y_head[half + i] = narrow(second * cosine + first * sine);
      }
    }
  }
}

}  // namespace

void reference::set_attention(Kernels& table) {
  table.causal_softmax = causal_softmax;
  table.causal_probabilities = causal_probabilities;
  table.softmax_backward = softmax_backward;
  table.row_dots = row_dots;
  table.rotate = rotate;
}

}  // namespace cllm::kernels
