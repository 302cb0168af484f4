#pragma once

#include <algorithm>
#include <complex>
#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <utility>
#include <vector>

#include "cllm/model/layout.h"
#include "support/reference_model.h"
#include "support/tape.h"

/// The gradient of the reference model's loss, twice: by the complex step, which knows nothing of
/// differentiation and costs a forward pass per parameter, and by the same forward pass on a tape,
/// which reference_test.cc proves by the former.
namespace cllm::support {

/// dL/dθ_i = Im L(θ + ih e_i) / h for the parameter at `index` of the flat buffer. The error is
/// O(h²), far below rounding.
inline double complex_step_gradient(const model::Layout& layout, std::span<const double> parameters,
                                    std::size_t index, std::span<const std::uint32_t> inputs,
                                    std::span<const std::uint32_t> targets, std::size_t sequences,
                                    std::size_t positions) {
  constexpr double kStep = 1e-30;
  std::vector<std::complex<double>> moved(parameters.begin(), parameters.end());
  moved[index] += std::complex<double>(0, kStep);
  return std::imag(reference_loss(layout, std::span<const std::complex<double>>(moved), inputs,
                                  targets, sequences, positions)) /
         kStep;
}

/// The gradient of `reference_loss` as a flat buffer by the layout, by a tape in T (float or
/// double). Padding between tensors is zero. Throws as `reference_loss` does.
template <typename T>
std::vector<T> reference_gradients(const model::Layout& layout, std::span<const T> parameters,
                                   std::span<const std::uint32_t> inputs,
                                   std::span<const std::uint32_t> targets, std::size_t sequences,
                                   std::size_t positions) {
  if (parameters.size() != layout.flat_size()) {
    throw std::invalid_argument("the reference model's parameters do not fit the layout");
  }
  Tape<T> tape;
  std::vector<Taped<T>> tensors;
  for (std::size_t i = 0; i < layout.tensors().size(); ++i) {
    tensors.push_back(tape.leaf(tensor_of(layout, parameters, i)));
  }
  const ReferenceModel<Taped<T>> model(layout, tensors);
  tape.sweep(cross_entropy(model.logits(inputs, {sequences, positions}), targets));

  std::vector<T> buffer(layout.flat_size());
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const Matrix<T> gradient = tape.gradient(tensors[i]);
    std::copy(gradient.values.begin(), gradient.values.end(),
              buffer.begin() + static_cast<std::ptrdiff_t>(layout[i].offset));
  }
  return buffer;
}

}  // namespace cllm::support
