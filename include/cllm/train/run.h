#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

#include "cllm/train/collective.h"
#include "cllm/train/evaluator.h"
#include "cllm/train/metrics.h"
#include "cllm/train/progress.h"
#include "cllm/train/state.h"
#include "cllm/train/trace.h"
#include "cllm/train/trainer.h"

namespace cllm::train {

/// When a run does what.
struct RunSchedule {
  std::uint64_t steps;             ///< of the whole run
  std::uint64_t evaluate_every;    ///< steps; a run also evaluates at its end
  std::uint64_t checkpoint_steps;  ///< steps between checkpoints; 0 for none
  double checkpoint_seconds;       ///< time between checkpoints; 0 for none
};

/// What rank 0 does beside training. The other ranks have none.
struct RunOutputs {
  MetricsLog& metrics;
  Progress& progress;
  std::function<void(const State&)> save;  ///< writes a checkpoint
};

/// Takes the steps that are left, evaluating and saving as scheduled and at the end. All ranks call
/// it alike; `outputs` is null but on rank 0. Returns the last evaluation.
Evaluation run(const RunSchedule& schedule, Trainer& trainer, Evaluator& evaluator, State& state,
               Trace& trace, RunOutputs* outputs, Collective& collective);

}  // namespace cllm::train
