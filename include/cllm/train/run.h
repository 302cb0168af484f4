#pragma once

#include <cstdint>
#include <filesystem>
#include <limits>
#include <string>

#include "cllm/base/stop_signals.h"
#include "cllm/ranks/process_group.h"
#include "cllm/train/checkpoint_writer.h"
#include "cllm/train/evaluator.h"
#include "cllm/train/goal.h"
#include "cllm/train/metrics.h"
#include "cllm/train/progress.h"
#include "cllm/train/replicas.h"
#include "cllm/train/state.h"
#include "cllm/train/state_gathering.h"
#include "cllm/train/text_sampler.h"
#include "cllm/train/trace.h"
#include "cllm/train/trainer.h"

namespace cllm::train {

/// When a run does what.
struct RunSchedule {
  /// Where it may be reached before the last step, each checkpoint that is the best is saved.
  Goal goal;
  std::uint64_t evaluate_every;    ///< steps; a run also evaluates at its end
  std::uint64_t sample_every;      ///< steps; also at its end; 0 for never
  std::uint64_t checkpoint_steps;  ///< steps between checkpoints; 0 for none
  double checkpoint_seconds;       ///< time between checkpoints; 0 for none
  std::uint64_t replicas_every;    ///< steps between comparisons of ranks; 0 for none
  OnMismatch on_mismatch;
  OnSpike on_spike;                 ///< kRollback wants checkpoint_steps
  bool stop_when_saving_fails;      ///< else training goes on, and the next checkpoint may succeed
  std::filesystem::path stop_file;  ///< ends the run when it appears, and is then removed
  bool is_saved;                    ///< the state it begins with, with this run's options
  double seconds = std::numeric_limits<double>::infinity();  ///< until all must be done and saved
};

/// What rank 0 does beside training. The other ranks have none.
struct RunOutputs {
  MetricsLog& metrics;
  Progress& progress;
  CheckpointWriter& checkpoints;
  const TextSampler* sampler;  ///< null where nothing is sampled
};

/// What a run works with.
struct RunParts {
  const model::Layout& layout;
  Trainer& trainer;
  Evaluator& evaluator;
  Trace& trace;
  const StopSignals& signals;
  RunOutputs* outputs;  ///< null but on rank 0
  StateSender* sender;  ///< null but with shards, on the other ranks
  ranks::ProcessGroup& process_group;
};

/// Takes the steps that are left, evaluating and saving as scheduled and at the end. All ranks call
/// it alike. `starting_point`: the checkpoint that `state` came from; empty for a new run. Returns
/// an empty text when its goal is reached, or why the run stopped before; either way all is saved.
/// Throws ReplicatedError where it has to give up.
std::string run(const RunSchedule& schedule, const RunParts& parts,
                const std::filesystem::path& starting_point, State& state);

}  // namespace cllm::train
