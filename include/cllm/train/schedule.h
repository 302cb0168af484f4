#pragma once

#include <cstdint>

namespace cllm::train {

/// How the learning rate goes down after warm-up.
enum class Decay {
  kCosine,    ///< half a cosine to min_learning_rate at the last step
  kLinear,    ///< a line to min_learning_rate at the last step
  kWsd,       ///< warm-up, stable, then a line to min_learning_rate over the last part of the steps
  kConstant,  ///< stays
};

/// The learning rate as a function of the step.
struct Schedule {
  Decay decay = Decay::kCosine;
  double learning_rate = 1e-3;
  double min_learning_rate = 1e-4;
  std::uint64_t warmup = 0;  ///< steps of linear growth from learning_rate/warmup to it
  std::uint64_t steps = 1;   ///< of the whole run
  double decay_part = 0.2;   ///< share of the steps in which kWsd falls

  /// The learning rate that step `step` (from 0) is taken with.
  double at(std::uint64_t step) const;
};

/// Throws Error, naming the option, for values that make no sense.
void validate(const Schedule& schedule);

}  // namespace cllm::train
