#pragma once

#include "cllm/kernels/kernels.h"
#include "functions.h"

namespace cllm::kernels {
namespace {

/// How many keys query `row` of the block sees.
std::size_t visible_keys(std::size_t visible, std::size_t row, std::size_t columns) {
  const std::size_t keys = visible + row;
  return keys < columns ? keys : columns;
}

void fill_zero(float* x, std::size_t n) {
  for_each_pack<4>(n, [=](std::size_t i, auto part) { part.store(x + i, 0); });
}

[[gnu::flatten]] void causal_softmax(float* scores, float* log_sum_exp, float scale,
                                     std::size_t visible, const std::uint32_t* begins,
                                     std::size_t rows, std::size_t columns, std::size_t ld) {
  for (std::size_t row = 0; row < rows; ++row) {
    const std::size_t begin = begins == nullptr ? 0 : begins[row];
    float* x = scores + row * ld + begin;
    const std::size_t n = visible_keys(visible, row, columns) - begin;
    const float top = row_max(x, n);
    // The maximum is taken off first: the difference is exact where it matters, however large the
    // scores are.
    const float sum = row_sum(n, [=](std::size_t i, auto part) {
      const auto power = part.keep(exp_or_zero((part.load(x + i) - top) * scale), 0);
      part.store(x + i, power);
      return power;
    });
    const float share = 1 / sum;
    for_each_pack<4>(
        n, [=](std::size_t i, auto part) { part.store(x + i, part.load(x + i) * share); });
    fill_zero(x - begin, begin);
    fill_zero(x + n, columns - begin - n);
    log_sum_exp[row] = scale * top + log_any(sum);
  }
}

[[gnu::flatten]] void causal_probabilities(float* scores, const float* log_sum_exp, float scale,
                                           std::size_t visible, const std::uint32_t* begins,
                                           std::size_t rows, std::size_t columns, std::size_t ld) {
  for (std::size_t row = 0; row < rows; ++row) {
    const std::size_t begin = begins == nullptr ? 0 : begins[row];
    float* x = scores + row * ld + begin;
    const std::size_t n = visible_keys(visible, row, columns) - begin;
    const float total = log_sum_exp[row];
    for_each_pack<4>(n, [=](std::size_t i, auto part) {
      using V = typename decltype(part)::Value;
      // The logarithm of large scores is rounded, but no probability is above 1. NaN stays, as the
      // second operand.
      part.store(x + i, exp_or_zero(min(V(0), fma(part.load(x + i), scale, -total))));
    });
    fill_zero(x - begin, begin);
    fill_zero(x + n, columns - begin - n);
  }
}

[[gnu::flatten]] void softmax_backward(const float* p, float* dp, const float* delta, float scale,
                                       std::size_t rows, std::size_t columns, std::size_t ld) {
  for (std::size_t row = 0; row < rows; ++row) {
    const float* p_row = p + row * ld;
    float* dp_row = dp + row * ld;
    const float mean = delta[row];
    for_each_pack<4>(columns, [=](std::size_t i, auto part) {
      part.store(dp_row + i, part.load(p_row + i) * scale * (part.load(dp_row + i) - mean));
    });
  }
}

[[gnu::flatten]] void row_dots(const float* a, const float* b, float* dots, std::size_t rows,
                               std::size_t columns, std::size_t lda, std::size_t ldb) {
  for (std::size_t row = 0; row < rows; ++row) {
    const float* a_row = a + row * lda;
    const float* b_row = b + row * ldb;
    dots[row] = row_sum(columns, [=](std::size_t i, auto part) {
      return part.load(a_row + i) * part.load(b_row + i);
    });
  }
}

[[gnu::flatten]] void rotate(const float* x, std::size_t ldx, const float* cosines,
                             const float* sines, float direction, float* y, std::size_t ldy,
                             std::size_t rows, std::size_t heads, std::size_t size) {
  const std::size_t half = size / 2;
  for (std::size_t row = 0; row < rows; ++row) {
    const float* cosine = cosines + row * half;
    const float* sine = sines + row * half;
    for (std::size_t head = 0; head < heads; ++head) {
      const float* x_head = x + row * ldx + head * size;
      float* y_head = y + row * ldy + head * size;
      for_each_pack<2>(half, [=](std::size_t i, auto part) {
        const auto first = part.load(x_head + i);
        const auto second = part.load(x_head + half + i);
        const auto cosine_i = part.load(cosine + i);
        const auto sine_i = part.load(sine + i) * direction;
        part.store(y_head + i, subtract_product(second, sine_i, first * cosine_i));
        part.store(y_head + half + i, fma(first, sine_i, second * cosine_i));
      });
    }
  }
}

inline void set_attention(Kernels& table) {
  table.causal_softmax = causal_softmax;
  table.causal_probabilities = causal_probabilities;
  table.softmax_backward = softmax_backward;
  table.row_dots = row_dots;
  table.rotate = rotate;
}

}  // namespace
}  // namespace cllm::kernels
