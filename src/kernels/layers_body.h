#pragma once

#include "cllm/kernels/kernels.h"
#include "functions.h"

namespace cllm::kernels {
namespace {

[[gnu::flatten]] void bias_gelu(const float* bias, float* x, float* y, std::size_t rows,
                                std::size_t columns) {
  for (std::size_t row = 0; row < rows; ++row) {
    float* x_row = x + row * columns;
    float* y_row = y + row * columns;
    for_each_pack<4>(columns, [=](std::size_t i, auto part) {
      const auto sum = part.load(x_row + i) + part.load(bias + i);
      part.store(x_row + i, sum);
      part.store(y_row + i, gelu(sum));
    });
  }
}

[[gnu::flatten]] void gelu_of(const float* x, float* y, std::size_t n) {
  for_each_pack<4>(n, [=](std::size_t i, auto part) { part.store(y + i, gelu(part.load(x + i))); });
}

[[gnu::flatten]] void gelu_backward(const float* x, const float* dy, float* dx, std::size_t n) {
  for_each_pack<4>(n, [=](std::size_t i, auto part) {
    part.store(dx + i, part.load(dy + i) * gelu_slope(part.load(x + i)));
  });
}

[[gnu::flatten]] void swiglu(const float* x, float* y, std::size_t rows, std::size_t width) {
  for (std::size_t row = 0; row < rows; ++row) {
    const float* gate = x + row * 2 * width;
    const float* value = gate + width;
    float* y_row = y + row * width;
    for_each_pack<4>(width, [=](std::size_t i, auto part) {
      part.store(y_row + i, silu(part.load(gate + i)) * part.load(value + i));
    });
  }
}

[[gnu::flatten]] void swiglu_backward(const float* x, const float* dy, float* dx, std::size_t rows,
                                      std::size_t width) {
  for (std::size_t row = 0; row < rows; ++row) {
    const float* gate = x + row * 2 * width;
    const float* value = gate + width;
    const float* dy_row = dy + row * width;
    float* dgate = dx + row * 2 * width;
    float* dvalue = dgate + width;
    for_each_pack<4>(width, [=](std::size_t i, auto part) {
      const auto dy_i = part.load(dy_row + i);
      const auto dsilu = dy_i * part.load(value + i);
      const auto silu_i = silu_and_slope(part.load(gate + i));
      part.store(dgate + i, dsilu * silu_i.slope);
      part.store(dvalue + i, dy_i * silu_i.silu);
    });
  }
}

/// NaN stays, as the second operand.
template <typename V>
V positive_part(const V& x) {
  return max(V(0), x);
}

[[gnu::flatten]] void relu2(const float* x, float* y, std::size_t n) {
  for_each_pack<4>(n, [=](std::size_t i, auto part) {
    const auto positive = positive_part(part.load(x + i));
    part.store(y + i, positive * positive);
  });
}

[[gnu::flatten]] void relu2_backward(const float* x, const float* dy, float* dx, std::size_t n) {
  for_each_pack<4>(n, [=](std::size_t i, auto part) {
    const auto positive = positive_part(part.load(x + i));
    part.store(dx + i, part.load(dy + i) * (positive + positive));
  });
}

inline void set_layers(Kernels& table) {
  table.bias_gelu = bias_gelu;
  table.gelu = gelu_of;
  table.gelu_backward = gelu_backward;
  table.swiglu = swiglu;
  table.swiglu_backward = swiglu_backward;
  table.relu2 = relu2;
  table.relu2_backward = relu2_backward;
}

}  // namespace
}  // namespace cllm::kernels
