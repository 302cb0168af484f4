#include "cllm/train/goal.h"

#include <fmt/format.h>

namespace cllm::train {

std::string reason_complete(const Goal& goal, const StateValues& state) {
  if (state.lacks_evaluation) return {};
  if (state.step >= goal.steps) return fmt::format("all {} steps are taken", state.step);
  if (goal.target_loss > 0 && state.best && state.best->loss <= goal.target_loss) {
    return fmt::format("the validation loss reached --target-loss {} with {:.4f} at step {}",
                       goal.target_loss, state.best->loss, state.best->step);
  }
  if (goal.patience > 0 && state.evaluations_since_best >= goal.patience) {
    return fmt::format("{} evaluation{} in a row {} no better (--patience {})",
                       state.evaluations_since_best, state.evaluations_since_best == 1 ? "" : "s",
                       state.evaluations_since_best == 1 ? "was" : "were", goal.patience);
  }
  return {};
}

}  // namespace cllm::train
