#include "cllm/train/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "cllm/base/elementary.h"
#include "cllm/base/error.h"

namespace cllm::train {
namespace {

constexpr std::uint64_t kMostSteps = 1'000'000'000'000;

}  // namespace

double Schedule::at(std::uint64_t step) const {
  if (step < warmup)
    return learning_rate * static_cast<double>(step + 1) / static_cast<double>(warmup);
  if (decay == Decay::kConstant) return learning_rate;
  // The decay ends at the last step, steps - 1, which is taken with min_learning_rate.
  const double last = static_cast<double>(steps) - 1;
  double first = static_cast<double>(warmup);
  if (decay == Decay::kWsd) {
    first = std::max(first, last - decay_part * static_cast<double>(steps));
  }
  const double now = static_cast<double>(step);
  if (now <= first) return learning_rate;
  const double done = std::min(1.0, (now - first) / (last - first));
  const double left =
      decay == Decay::kCosine ? 0.5 * (1.0 + cosine(std::numbers::pi * done)) : 1.0 - done;
  return min_learning_rate + (learning_rate - min_learning_rate) * left;
}

void validate(const Schedule& s) {
  if (s.steps < 1 || s.steps > kMostSteps) {
    fail("--steps {}: give a number from 1 to {}", s.steps, kMostSteps);
  }
  if (!(s.learning_rate > 0) || !std::isfinite(s.learning_rate)) {
    fail("--lr {}: give a number above 0", s.learning_rate);
  }
  if (!(s.min_learning_rate >= 0) || s.min_learning_rate > s.learning_rate) {
    fail("--min-lr {}: give a number from 0 to --lr {}", s.min_learning_rate, s.learning_rate);
  }
  if (!(s.decay_part >= 0 && s.decay_part <= 1)) {
    fail("--decay-part {}: give a share of the steps, from 0 to 1", s.decay_part);
  }
  if (s.warmup >= s.steps && s.warmup > 0) {
    fail("--warmup {}: give fewer steps than --steps {}", s.warmup, s.steps);
  }
}

}  // namespace cllm::train
