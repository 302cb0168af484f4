#pragma once

#include "cllm/kernels/kernels.h"
#include "vector.h"

namespace cllm::kernels {
namespace {

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

inline void set_rotate(Kernels& table) { table.rotate = rotate; }

}  // namespace
}  // namespace cllm::kernels
