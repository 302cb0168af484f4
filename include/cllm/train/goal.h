#pragma once

#include <cstdint>
#include <string>

#include "cllm/train/state.h"

namespace cllm::train {

/// When a run is complete: with its last step, or before, by what its evaluations say.
struct Goal {
  std::uint64_t steps;
  double target_loss = 0;      ///< a validation loss that is good enough; 0 for none
  std::uint64_t patience = 0;  ///< evaluations in a row without a better loss; 0: any number

  /// Whether a run may be complete before its last step.
  bool may_end_early() const { return target_loss > 0 || patience > 0; }
};

/// Why a run with this state is complete, as a clause: "all 2000 steps are taken"; empty where it
/// isn't. It follows from the state alone, so a run that goes on from a checkpoint ends where it
/// would have ended.
std::string reason_complete(const Goal& goal, const StateValues& state);

}  // namespace cllm::train
