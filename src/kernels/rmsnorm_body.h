#pragma once

#include "cllm/kernels/kernels.h"
#include "vector.h"

namespace cllm::kernels {
namespace {

/// x gain, or x where there is none.
template <bool kGain, typename Part>
auto with_gain(const typename Part::Value& x, const float* gain, std::size_t i, const Part& part) {
  if constexpr (kGain) {
    return x * part.load(gain + i);
  } else {
    return x;
  }
}

/// One row or head, given the sum of its squares.
template <bool kGain>
void normalize_head(const float* x, float squares, const float* gain, float* y, float* rstd,
                    float epsilon, std::size_t size) {
  const float scale = reciprocal_root(squares / static_cast<float>(size) + epsilon);
  for_each_pack<4>(size, [=](std::size_t i, auto part) {
    part.store(y + i, with_gain<kGain>(part.load(x + i) * scale, gain, i, part));
  });
  *rstd = scale;
}

template <bool kGain>
void rmsnorm_heads(const float* x, std::size_t ldx, const float* gain, float* y, std::size_t ldy,
                   float* rstd, float epsilon, std::size_t rows, std::size_t heads,
                   std::size_t size) {
  for (std::size_t row = 0; row < rows; ++row) {
    for (std::size_t head = 0; head < heads; ++head) {
      const float* x_head = x + row * ldx + head * size;
      const float squares = row_sum(size, [=](std::size_t i, auto part) {
        const auto value = part.load(x_head + i);
        return value * value;
      });
      normalize_head<kGain>(x_head, squares, gain, y + row * ldy + head * size,
                            rstd + row * heads + head, epsilon, size);
    }
  }
}

/// Calls body(size), with the usual lengths of a head as constants, for which the compiler unrolls
/// the loops along it.
template <typename Body>
void with_constant_size(std::size_t size, const Body& body) {
  if (size == 64) {
    body(64);
  } else if (size == 128) {
    body(128);
  } else {
    body(size);
  }
}

[[gnu::flatten]] void rmsnorm(const float* x, std::size_t ldx, const float* gain, float* y,
                              std::size_t ldy, float* rstd, float epsilon, std::size_t rows,
                              std::size_t heads, std::size_t size) {
  with_constant_size(size, [=](std::size_t n) {
    if (gain != nullptr) {
      rmsnorm_heads<true>(x, ldx, gain, y, ldy, rstd, epsilon, rows, heads, n);
    } else {
      rmsnorm_heads<false>(x, ldx, gain, y, ldy, rstd, epsilon, rows, heads, n);
    }
  });
}

template <bool kBias>
void residual_head_rows(const float* x, const float* branch, const float* bias, const float* gain,
                        float* sum, float* y, float* rstd, float epsilon, std::size_t rows,
                        std::size_t channels) {
  for (std::size_t row = 0; row < rows; ++row) {
    const std::size_t start = row * channels;
    const float squares = row_sum(channels, [=](std::size_t i, auto part) {
      auto addend = part.load(branch + start + i);
      if constexpr (kBias) addend = addend + part.load(bias + i);
      const auto value = part.load(x + start + i) + addend;
      part.store(sum + start + i, value);
      return value * value;
    });
    if (gain != nullptr) {
      normalize_head<true>(sum + start, squares, gain, y + start, rstd + row, epsilon, channels);
    } else {
      normalize_head<false>(sum + start, squares, gain, y + start, rstd + row, epsilon, channels);
    }
  }
}

[[gnu::flatten]] void residual_rmsnorm(const float* x, const float* branch, const float* bias,
                                       const float* gain, float* sum, float* y, float* rstd,
                                       float epsilon, std::size_t rows, std::size_t channels) {
  if (bias != nullptr) {
    residual_head_rows<true>(x, branch, bias, gain, sum, y, rstd, epsilon, rows, channels);
  } else {
    residual_head_rows<false>(x, branch, bias, gain, sum, y, rstd, epsilon, rows, channels);
  }
}

/// The arguments of rmsnorm_backward but for `rows` and `size`.
struct Backward {
  const float* dy;
  std::size_t ldy;
  const float* x;
  std::size_t ldx;
  const float* rstd;
  const float* gain;
  const float* base;
  float* dx;
  std::size_t lddx;
  float* dgain;
  std::size_t heads;
};

/// Where one head is, and its rstd.
struct Head {
  const float* dy;
  const float* x;
  const float* base;
  float* dx;
  float rstd;
};

/// kHeads heads at once, so that dgain is loaded and stored once for all of them. Their order of
/// addition, and the order in each head, are those of kHeads = 1.
template <std::size_t kHeads, bool kGain>
void backward_heads(const Head* heads, const float* gain, float* dgain, std::size_t size) {
  Vector dots[kHeads];
#pragma GCC unroll 4
  for (Vector& dot : dots) dot = Vector(0);
  for_each_pack<1>(size, [&](std::size_t i, auto part) {
    Vector gain_i = 1, dgain_i = 0;
    if constexpr (kGain) {
      gain_i = part.load(gain + i);
      dgain_i = part.load(dgain + i);
    }
#pragma GCC unroll 4
    for (std::size_t head = 0; head < kHeads; ++head) {
      const Vector dy_i = part.load(heads[head].dy + i);
      const Vector normal = part.load(heads[head].x + i) * heads[head].rstd;
      Vector dnormal = dy_i;
      if constexpr (kGain) {
        dgain_i = fma(dy_i, normal, dgain_i);
        dnormal = dy_i * gain_i;
      }
      dots[head] = fma(dnormal, normal, dots[head]);
    }
    if constexpr (kGain) part.store(dgain + i, dgain_i);
  });

#pragma GCC unroll 4
  for (std::size_t k = 0; k < kHeads; ++k) {
    const Head head = heads[k];
    const float mean_dot = horizontal_sum(dots[k]) / static_cast<float>(size);
    for_each_pack<4>(size, [=](std::size_t i, auto part) {
      using V = typename decltype(part)::Value;
      const V normal = part.load(head.x + i) * head.rstd;
      const V dnormal = with_gain<kGain>(part.load(head.dy + i), gain, i, part);
      const V rest = subtract_product(normal, V(mean_dot), dnormal);
      const V through = head.base == nullptr ? rest * head.rstd
                                             : fma(rest, V(head.rstd), part.load(head.base + i));
      part.store(head.dx + i, through);
    });
  }
}

/// Takes all heads of all rows in order, four at once, and the last ones singly.
template <bool kGain>
void backward_rows(const Backward& of, std::size_t rows, std::size_t size) {
  constexpr std::size_t kAtOnce = 4;
  Head waiting[kAtOnce];
  std::size_t count = 0;
  for (std::size_t row = 0; row < rows; ++row) {
    for (std::size_t head = 0; head < of.heads; ++head) {
      const std::size_t in_dx = row * of.lddx + head * size;
      waiting[count++] = {of.dy + row * of.ldy + head * size, of.x + row * of.ldx + head * size,
                          of.base == nullptr ? nullptr : of.base + in_dx, of.dx + in_dx,
                          of.rstd[row * of.heads + head]};
      if (count == kAtOnce) {
        backward_heads<kAtOnce, kGain>(waiting, of.gain, of.dgain, size);
        count = 0;
      }
    }
  }
  for (std::size_t k = 0; k < count; ++k) {
    backward_heads<1, kGain>(waiting + k, of.gain, of.dgain, size);
  }
}

[[gnu::flatten]] void rmsnorm_backward(const float* dy, std::size_t ldy, const float* x,
                                       std::size_t ldx, const float* rstd, const float* gain,
                                       const float* base, float* dx, std::size_t lddx, float* dgain,
                                       std::size_t rows, std::size_t heads, std::size_t size) {
  const Backward of = {dy, ldy, x, ldx, rstd, gain, base, dx, lddx, dgain, heads};
  with_constant_size(size, [&](std::size_t n) {
    if (gain != nullptr) {
      backward_rows<true>(of, rows, n);
    } else {
      backward_rows<false>(of, rows, n);
    }
  });
}

inline void set_rmsnorm(Kernels& table) {
  table.rmsnorm = rmsnorm;
  table.residual_rmsnorm = residual_rmsnorm;
  table.rmsnorm_backward = rmsnorm_backward;
}

}  // namespace
}  // namespace cllm::kernels
