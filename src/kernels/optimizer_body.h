#pragma once

#include "cllm/kernels/kernels.h"
#include "vector.h"

namespace cllm::kernels {
namespace {

template <typename Part>
auto load_gradient(const Part& part, const float* from) {
  return part.load(from);
}

template <typename Part>
auto load_gradient(const Part& part, const std::int32_t* from) {
  return bits_to_float(part.load(from));
}

/// Gradient: float, or int32 for coordinates.
template <typename Gradient>
[[gnu::flatten]] void adamw(float* parameter, float* m, float* v, const Gradient* gradient,
                            std::size_t n, const AdamWStep& step) {
  const float beta1 = step.beta1;
  const float beta2 = step.beta2;
  const float scale = step.gradient_scale;
  const float correction1 = 1 / step.bias_correction1;
  const float correction2 = 1 / step.bias_correction2;
  const float epsilon = step.epsilon;
  const float rate = step.learning_rate;
  const float decay = step.weight_decay;
  // A pack of two vectors is a cache line.
  for_each_pack<2>(n, [=](std::size_t i, auto part) {
    prefetch(gradient + i, kNearAhead);
    prefetch(m + i, kNearAhead);
    prefetch(v + i, kNearAhead);
    prefetch(parameter + i, kNearAhead);
    const auto g = load_gradient(part, gradient + i) * scale;
    const auto m_new = fma(part.load(m + i), beta1, g * (1 - beta1));
    const auto v_new = fma(part.load(v + i), beta2, g * g * (1 - beta2));
    part.store(m + i, m_new);
    part.store(v + i, v_new);
    const auto p = part.load(parameter + i);
    const auto direction = (m_new * correction1) / (sqrt(v_new * correction2) + epsilon);
    part.store(parameter + i, subtract_product(fma(p, decay, direction), rate, p));
  });
}

template <bool kNesterov, typename Gradient>
void momentum_step(float* m, const Gradient* gradient, float* direction, float momentum,
                   float gradient_scale, std::size_t n) {
  for_each_pack<2>(n, [=](std::size_t i, auto part) {
    using V = typename decltype(part)::Value;
    prefetch(gradient + i, kNearAhead);
    prefetch(m + i, kNearAhead);
    prefetch(direction + i, kNearAhead);
    const V g = load_gradient(part, gradient + i) * gradient_scale;
    const V m_new = fma(part.load(m + i), momentum, g);
    part.store(m + i, m_new);
    part.store(direction + i, kNesterov ? fma(m_new, V(momentum), g) : m_new);
  });
}

template <typename Gradient>
[[gnu::flatten]] void momentum_pass(float* m, const Gradient* gradient, float* direction,
                                    float momentum, float gradient_scale, bool nesterov,
                                    std::size_t n) {
  if (nesterov) {
    momentum_step<true>(m, gradient, direction, momentum, gradient_scale, n);
  } else {
    momentum_step<false>(m, gradient, direction, momentum, gradient_scale, n);
  }
}

inline void set_optimizer(Kernels& table) {
  table.adamw = adamw<float>;
  table.adamw_integers = adamw<std::int32_t>;
  table.momentum = momentum_pass<float>;
  table.momentum_integers = momentum_pass<std::int32_t>;
}

}  // namespace
}  // namespace cllm::kernels
