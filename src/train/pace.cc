#include "cllm/train/pace.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "cllm/base/quantities.h"

namespace cllm::train {
namespace {

/// The least weight of the newest step in the smoothed time of a step.
constexpr double kNewest = 0.1;

}  // namespace

void Pace::step(double seconds) {
  taken_ += 1;
  // The mean of the first ones, but for the very first.
  const double weight =
      taken_ <= 2 ? 1.0 : std::max(kNewest, 1.0 / static_cast<double>(taken_ - 1));
  step_seconds_ += weight * (seconds - step_seconds_);
}

double Pace::seconds_left(std::uint64_t step) const {
  if (step >= steps_) return 0;
  // Those at multiples, if there are any, and the one at the end where that is none.
  const std::uint64_t every = evaluate_every_ > 0 ? evaluate_every_ : steps_;
  const auto evaluations = static_cast<double>((steps_ - 1) / every - step / every + 1);
  const double evaluation =
      evaluation_seconds_ > 0 ? evaluation_seconds_ : evaluation_steps_ * step_seconds_;
  return static_cast<double>(steps_ - step) * step_seconds_ + evaluations * evaluation;
}

std::string forecast(double left, std::uint64_t steps, double start_left, double start) {
  std::string text =
      fmt::format("time    about {} for the {} step{} that {} left", duration_text(left), steps,
                  steps == 1 ? "" : "s", steps == 1 ? "is" : "are");
  if (left <= start_left) return text;
  text += fmt::format(", but this start ends in {}: it takes about ", duration_text(start_left));
  const double more = std::ceil((left - std::max(0.0, start_left)) / std::max(1.0, start));
  return text + fmt::format("{:.0f} more start{} (--resume, or a job that is requeued)", more,
                            more == 1 ? "" : "s");
}

}  // namespace cllm::train
