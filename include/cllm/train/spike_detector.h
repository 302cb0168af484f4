#pragma once

#include <cstddef>
#include <vector>

namespace cllm::train {

/// What to do about a step whose gradient is not finite, or far larger than those before it.
enum class OnSpike {
  kSkip,      ///< leave the parameters as they are and go on
  kClip,      ///< scale the gradient down to a usual size; skip it where it isn't finite
  kRollback,  ///< go back to the last checkpoint, and on from there with other data
  kStop,      ///< save and end the run
};

/// What a gradient is beside those before it.
enum class Health { kUsual, kSpike, kNotFinite };

/// Watches the norm of the gradient. What it says follows from numbers that all ranks have and that
/// checkpoints keep, so every rank decides alike, and so does a run that takes the steps again.
class SpikeDetector {
 public:
  /// Steps that it looks back on, and how many it wants before it calls anything a spike.
  static constexpr std::size_t kMemory = 64;
  static constexpr std::size_t kFewest = 16;
  /// After so many gradients in a row that aren't finite, going on is hopeless.
  static constexpr std::size_t kMostNotFinite = 10;

  /// A spike is a norm above `factor` times the median of recent ones; none is where it is 0.
  /// Throws Error, naming --spike-factor, for a number that makes no sense.
  explicit SpikeDetector(double factor);

  Health judge(double loss, double norm, const std::vector<double>& recent) const;
  /// The median of `recent`, which has at least one norm and at most kMemory.
  static double median(const std::vector<double>& recent);
  /// Adds a finite norm to `recent`, spike or not: should large norms become usual, then after half
  /// of its memory they count as such.
  static void remember(double norm, std::vector<double>& recent);

 private:
  double factor_;
};

}  // namespace cllm::train
