#pragma once

#include <algorithm>
#include <cstddef>
#include <limits>

#include "cllm/kernels/kernels.h"

/// What the files of the reference share. Every element and every sum along a row is
/// computed in double and rounded once, so this implementation is also what the other one is
/// measured against.
namespace cllm::kernels::reference {

inline double wide(float x) { return x; }
inline float narrow(double x) { return static_cast<float>(x); }

/// -inf for n = 0.
inline double max_of(const float* x, std::size_t n) {
  float max = -std::numeric_limits<float>::infinity();
  for (std::size_t i = 0; i < n; ++i) {
    max = std::max(max, x[i]);
  }
  return wide(max);
}

/// Each sets its entries of the table.
void set_math(Kernels& table);
void set_integers(Kernels& table);
void set_doubles(Kernels& table);
void set_layers(Kernels& table);
void set_norm(Kernels& table);
void set_attention(Kernels& table);
void set_loss(Kernels& table);
void set_optimizer(Kernels& table);

}  // namespace cllm::kernels::reference
