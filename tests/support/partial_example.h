#pragma once

#include <algorithm>
#include <complex>
#include <cstddef>
#include <cstdint>
#include <list>
#include <span>
#include <utility>
#include <vector>

#include "cllm/kernels/kernels.h"
#include "cllm/model/micro_batch.h"
#include "support/example.h"
#include "support/reference_gradients.h"
#include "support/reference_model.h"
#include "support/tape.h"
#include "support/tolerance.h"

/// A batch whose sequences hold several documents, of whose targets only some count. The reference
/// knows neither masks nor restarting positions: it takes each document by itself, as a sequence of
/// its own, and of its logits the rows that count.
namespace cllm::support {

struct PartialExample {
  Example whole;
  std::vector<std::uint32_t> begins;   // (B, T)
  std::vector<std::uint32_t> targets;  // (B, T)
  std::size_t counted = 0;

  model::MicroBatch micro_batch() const {
    return {.inputs = whole.inputs.data(),
            .targets = targets.data(),
            .sequences = whole.sequences,
            .positions = whole.positions,
            .begins = begins.data()};
  }
};

/// Documents begin at these positions of the first sequence; each other sequence is one. Of three
/// targets two count, and none of the last document of the first sequence.
inline PartialExample make_partial_example(const model::ModelConfig& config, std::size_t sequences,
                                           std::size_t positions,
                                           const std::vector<std::uint32_t>& documents,
                                           std::uint64_t seed) {
  PartialExample example{make_example(config, sequences, positions, seed), {}, {}};
  example.targets = example.whole.targets;
  example.begins.assign(sequences * positions, 0);
  for (const std::uint32_t begin : documents) {
    std::fill(example.begins.begin() + begin,
              example.begins.begin() + static_cast<std::ptrdiff_t>(positions), begin);
  }
  for (std::size_t row = 0; row < example.targets.size(); ++row) {
    if (row % 3 == 1 || (row >= documents.back() && row < positions)) {
      example.targets[row] = kernels::kNoTarget;
    } else {
      ++example.counted;
    }
  }
  return example;
}

/// Targets that a tape refers to until it was swept.
using KeptTargets = std::list<std::vector<std::uint32_t>>;

/// Mean cross-entropy of the targets that count.
template <typename M>
M partial_loss(const ReferenceModel<M>& model, const PartialExample& e, KeptTargets& kept) {
  std::vector<M> parts;
  const std::size_t positions = e.whole.positions;
  for (std::size_t first = 0, end = 0; first < e.begins.size(); first = end) {
    end = first + 1;
    while (end % positions != 0 && e.begins[end] == e.begins[first]) ++end;
    std::vector<std::size_t> rows;
    std::vector<std::uint32_t>& targets = kept.emplace_back();
    for (std::size_t row = first; row < end; ++row) {
      if (e.targets[row] == kernels::kNoTarget) continue;
      rows.push_back(row - first);
      targets.push_back(e.targets[row]);
    }
    if (rows.empty()) continue;
    const auto inputs = std::span(e.whole.inputs).subspan(first, end - first);
    const M logits = rows_of(model.logits(inputs, {1, end - first}), rows);
    parts.push_back(scaled(cross_entropy(logits, targets),
                           static_cast<double>(rows.size()) / static_cast<double>(e.counted)));
  }
  M loss = parts.front();
  for (std::size_t i = 1; i < parts.size(); ++i) loss = sum(loss, parts[i]);
  return loss;
}

template <typename T>
T partial_reference_loss(const PartialExample& e, std::span<const T> parameters) {
  KeptTargets kept;
  return partial_loss(reference_model(e.whole.layout, parameters), e, kept)(0, 0);
}

/// Its derivative by one parameter, by the complex step.
inline double partial_complex_step(const PartialExample& e, std::size_t index) {
  constexpr double kStep = 1e-30;
  const std::vector<double> parameters = e.whole.exact_parameters();
  std::vector<std::complex<double>> moved(parameters.begin(), parameters.end());
  moved[index] += std::complex<double>(0, kStep);
  return std::imag(partial_reference_loss(e, std::span<const std::complex<double>>(moved))) / kStep;
}

/// Its gradient as a flat buffer, by a tape.
inline std::vector<double> partial_reference_gradients(const PartialExample& e,
                                                       std::span<const double> parameters) {
  const model::Layout& layout = e.whole.layout;
  Tape<double> tape;
  std::vector<Taped<double>> tensors;
  for (std::size_t i = 0; i < layout.tensors().size(); ++i) {
    tensors.push_back(tape.leaf(tensor_of(layout, parameters, i)));
  }
  const ReferenceModel<Taped<double>> model(layout, tensors);
  KeptTargets kept;
  tape.sweep(partial_loss(model, e, kept));
  std::vector<double> buffer(layout.flat_size());
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const Matrix<double> gradient = tape.gradient(tensors[i]);
    std::copy(gradient.values.begin(), gradient.values.end(),
              buffer.begin() + static_cast<std::ptrdiff_t>(layout[i].offset));
  }
  return buffer;
}

/// Note [Tolerance of gradients], of such an example.
inline double partial_tolerance(const PartialExample& e, double unit_roundoff) {
  const double condition = gradient_condition(e.whole, [&](std::span<const double> parameters) {
    return partial_reference_gradients(e, parameters);
  });
  return 2 * condition * unit_roundoff *
         rounding_growth(e.whole.layout.config(), e.whole.sequences, e.whole.positions);
}

}  // namespace cllm::support
