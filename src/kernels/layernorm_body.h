#pragma once

#include "cllm/kernels/kernels.h"
#include "vector.h"

namespace cllm::kernels {
namespace {

/// One row, given the sum of its elements. The variance is taken around the mean in a pass of its
/// own (the row is in the first cache level): the mean of squares less the square of the mean would
/// cancel.
void normalize_layer(const float* x, float sum, const float* gain, const float* shift, float* y,
                     float* mean, float* rstd, std::size_t channels) {
  const float count = static_cast<float>(channels);
  const float center = sum / count;
  const float squares = row_sum(channels, [=](std::size_t i, auto part) {
    const auto deviation = part.keep(part.load(x + i) - center, 0);
    return deviation * deviation;
  });
  const float scale = reciprocal_root(squares / count + 1e-5f);
  for_each_pack<4>(channels, [=](std::size_t i, auto part) {
    const auto normal = (part.load(x + i) - center) * scale;
    part.store(y + i, fma(normal, part.load(gain + i), part.load(shift + i)));
  });
  *mean = center;
  *rstd = scale;
}

[[gnu::flatten]] void layernorm(const float* x, const float* gain, const float* shift, float* y,
                                float* mean, float* rstd, std::size_t rows, std::size_t channels) {
  for (std::size_t row = 0; row < rows; ++row) {
    const float* x_row = x + row * channels;
    const float sum =
        row_sum(channels, [=](std::size_t i, auto part) { return part.load(x_row + i); });
    normalize_layer(x_row, sum, gain, shift, y + row * channels, mean + row, rstd + row, channels);
  }
}

template <bool kBias>
void residual_layer_rows(const float* x, const float* branch, const float* bias, const float* gain,
                         const float* shift, float* sum, float* y, float* mean, float* rstd,
                         std::size_t rows, std::size_t channels) {
  for (std::size_t row = 0; row < rows; ++row) {
    const std::size_t start = row * channels;
    const float total = row_sum(channels, [=](std::size_t i, auto part) {
      auto addend = part.load(branch + start + i);
      if constexpr (kBias) addend = addend + part.load(bias + i);
      const auto value = part.load(x + start + i) + addend;
      part.store(sum + start + i, value);
      return value;
    });
    normalize_layer(sum + start, total, gain, shift, y + start, mean + row, rstd + row, channels);
  }
}

[[gnu::flatten]] void residual_layernorm(const float* x, const float* branch, const float* bias,
                                         const float* gain, const float* shift, float* sum,
                                         float* y, float* mean, float* rstd, std::size_t rows,
                                         std::size_t channels) {
  if (bias != nullptr) {
    residual_layer_rows<true>(x, branch, bias, gain, shift, sum, y, mean, rstd, rows, channels);
  } else {
    residual_layer_rows<false>(x, branch, bias, gain, shift, sum, y, mean, rstd, rows, channels);
  }
}

/// kRows rows at once, so that dgain and dshift are loaded and stored once for all of them. Their
/// order of addition, and each row's, are those of kRows = 1.
template <std::size_t kRows>
void layernorm_backward_rows(const float* dy, const float* x, const float* mean, const float* rstd,
                             const float* gain, float* dx, float* dgain, float* dshift,
                             std::size_t channels) {
  Vector sums[kRows], dots[kRows];
#pragma GCC unroll 4
  for (std::size_t row = 0; row < kRows; ++row) sums[row] = dots[row] = Vector(0);
  for_each_pack<1>(channels, [&](std::size_t i, auto part) {
    const Vector gain_i = part.load(gain + i);
    Vector dgain_i = part.load(dgain + i);
    Vector dshift_i = part.load(dshift + i);
#pragma GCC unroll 4
    for (std::size_t row = 0; row < kRows; ++row) {
      const Vector dy_i = part.load(dy + row * channels + i);
      const Vector normal = (part.load(x + row * channels + i) - mean[row]) * rstd[row];
      dgain_i = fma(dy_i, normal, dgain_i);
      dshift_i = dshift_i + dy_i;
      const Vector dnormal = dy_i * gain_i;
      sums[row] = sums[row] + dnormal;
      dots[row] = fma(dnormal, normal, dots[row]);
    }
    part.store(dgain + i, dgain_i);
    part.store(dshift + i, dshift_i);
  });

  const float count = static_cast<float>(channels);
  for (std::size_t row = 0; row < kRows; ++row) {
    const float* dy_row = dy + row * channels;
    const float* x_row = x + row * channels;
    float* dx_row = dx + row * channels;
    const float mean_sum = horizontal_sum(sums[row]) / count;
    const float mean_dot = horizontal_sum(dots[row]) / count;
    const float center = mean[row];
    const float scale = rstd[row];
    for_each_pack<4>(channels, [=](std::size_t i, auto part) {
      const auto normal = (part.load(x_row + i) - center) * scale;
      const auto dnormal = part.load(dy_row + i) * part.load(gain + i);
      const auto rest = subtract_product(normal, mean_dot, dnormal - mean_sum);
      part.store(dx_row + i, fma(rest, scale, part.load(dx_row + i)));
    });
  }
}

[[gnu::flatten]] void layernorm_backward(const float* dy, const float* x, const float* mean,
                                         const float* rstd, const float* gain, float* dx,
                                         float* dgain, float* dshift, std::size_t rows,
                                         std::size_t channels) {
  std::size_t row = 0;
  for (; row + 4 <= rows; row += 4) {
    layernorm_backward_rows<4>(dy + row * channels, x + row * channels, mean + row, rstd + row,
                               gain, dx + row * channels, dgain, dshift, channels);
  }
  for (; row < rows; ++row) {
    layernorm_backward_rows<1>(dy + row * channels, x + row * channels, mean + row, rstd + row,
                               gain, dx + row * channels, dgain, dshift, channels);
  }
}

inline void set_layernorm(Kernels& table) {
  table.layernorm = layernorm;
  table.residual_layernorm = residual_layernorm;
  table.layernorm_backward = layernorm_backward;
}

}  // namespace
}  // namespace cllm::kernels
