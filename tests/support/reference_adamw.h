#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>
#include <vector>

#include "cllm/model/layout.h"

namespace cllm::support {

struct ReferenceAdamWOptions {
  double beta1, beta2, epsilon, weight_decay;
  double clip;  // the largest norm of a gradient: it is scaled by min(1, clip / norm)
};

/// AdamW in double, written like the mathematics (Loshchilov and Hutter, "Decoupled Weight Decay
/// Regularization", 2019, algorithm 2), after clipping by the global norm. Matrices decay.
class ReferenceAdamW {
 public:
  ReferenceAdamW(const model::Layout& layout, const ReferenceAdamWOptions& options)
      : layout_(layout), options_(options), m_(layout.flat_size()), v_(layout.flat_size()) {}

  /// Updates the parameters by the gradients, both flat buffers by the layout, and returns the norm
  /// of the gradients before clipping.
  double step(std::span<double> parameters, std::span<const double> gradients,
              double learning_rate) {
    ++steps_;
    double squares = 0;
    for (const double g : gradients) squares += g * g;
    const double norm = std::sqrt(squares);
    const double scale = std::min(1.0, options_.clip / norm);
    const double correction_1 = 1 - std::pow(options_.beta1, steps_);
    const double correction_2 = 1 - std::pow(options_.beta2, steps_);
    for (const model::Tensor& tensor : layout_.tensors()) {
      const double decay = tensor.is_matrix() ? options_.weight_decay : 0;
      for (std::size_t i = tensor.offset; i < tensor.offset + tensor.size(); ++i) {
        const double g = scale * gradients[i];
        m_[i] = options_.beta1 * m_[i] + (1 - options_.beta1) * g;
        v_[i] = options_.beta2 * v_[i] + (1 - options_.beta2) * g * g;
        const double direction =
            (m_[i] / correction_1) / (std::sqrt(v_[i] / correction_2) + options_.epsilon);
        parameters[i] -= learning_rate * (direction + decay * parameters[i]);
      }
    }
    return norm;
  }

 private:
  const model::Layout& layout_;
  ReferenceAdamWOptions options_;
  int steps_ = 0;
  std::vector<double> m_, v_;
};

}  // namespace cllm::support
