#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "cllm/base/random.h"
#include "cllm/model/layout.h"

namespace cllm::support {

/// A model with parameters and a batch, all a function of a seed.
struct Example {
  model::Layout layout;
  std::size_t sequences;
  std::size_t positions;
  std::vector<float> parameters;       // a flat buffer by the layout
  std::vector<std::uint32_t> inputs;   // (B, T)
  std::vector<std::uint32_t> targets;  // (B, T)

  /// The same numbers: every float is a double.
  std::vector<double> exact_parameters() const { return {parameters.begin(), parameters.end()}; }
};

/// Parameters far from where training starts, so that a mistake anywhere shows: matrices whose
/// products have unit size (so that GELU and softmax bend), gains about 1, and biases that aren't
/// zero. Every other row of the token and position tables is small, as all are where training
/// starts, so that a norm's epsilon counts. Tokens are uniform, and so come again when there
/// are more positions than vocabulary.
inline Example make_example(const model::ModelConfig& config, std::size_t sequences,
                            std::size_t positions, std::uint64_t seed) {
  Example example{model::Layout(config), sequences, positions, {}, {}, {}};
  RandomStream random(seed, 0);
  example.parameters.resize(example.layout.flat_size());
  for (const model::Tensor& tensor : example.layout.tensors()) {
    const bool is_gain = tensor.initial == model::Initial::kOne;
    const bool is_table =
        example.layout.is_table(static_cast<std::size_t>(&tensor - &example.layout[0])) ||
        (example.layout.wpe() && &tensor == &example.layout[*example.layout.wpe()]);
    const double scale =
        tensor.is_matrix() ? 1 / std::sqrt(static_cast<double>(tensor.columns)) : 0.3;
    for (std::size_t i = 0; i < tensor.size(); ++i) {
      const bool is_small = is_table && i / tensor.columns % 2 == 0;
      example.parameters[tensor.offset + i] =
          static_cast<float>((is_gain ? 1 : 0) + (is_small ? 0.05 : 1) * scale * random.normal());
    }
  }
  for (std::size_t n = 0; n < sequences * positions; ++n) {
    example.inputs.push_back(static_cast<std::uint32_t>(random.below(config.vocabulary)));
    example.targets.push_back(static_cast<std::uint32_t>(random.below(config.vocabulary)));
  }
  return example;
}

}  // namespace cllm::support
