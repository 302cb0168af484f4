#include <cmath>

#include "reference.h"

namespace cllm::kernels {
namespace {

using reference::narrow;
using reference::wide;

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

template <typename Gradient>
void momentum_pass(float* m, const Gradient* gradient, float* direction, float momentum,
                   float gradient_scale, bool nesterov, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) {
    const double g = wide(static_cast<float>(gradient[i])) * wide(gradient_scale);
    const double m_new = wide(momentum) * wide(m[i]) + g;
    m[i] = narrow(m_new);
    direction[i] = narrow(nesterov ? g + wide(momentum) * m_new : m_new);
  }
}

}  // namespace

void reference::set_optimizer(Kernels& table) {
  table.adamw = adamw<float>;
  table.adamw_integers = adamw<std::int32_t>;
  table.momentum = momentum_pass<float>;
  table.momentum_integers = momentum_pass<std::int32_t>;
}

}  // namespace cllm::kernels
