#include "cllm/train/run.h"

#include <fmt/format.h>

#include <array>

#include "cllm/base/stopwatch.h"

namespace cllm::train {
namespace {

bool is_multiple(std::uint64_t step, std::uint64_t interval) {
  return interval > 0 && step % interval == 0;
}

/// Whether rank 0 says so: clocks differ, and ranks must do the same.
bool rank_0_says(bool wish, Collective& collective) {
  std::array<std::int64_t, 1> votes = {collective.rank() == 0 && wish ? 1 : 0};
  collective.sum(votes);
  return votes[0] > 0;
}

}  // namespace

Evaluation run(const RunSchedule& schedule, Trainer& trainer, Evaluator& evaluator, State& state,
               Trace& trace, RunOutputs* outputs, Collective& collective) {
  Evaluation evaluation{};
  Stopwatch since_checkpoint;
  while (state.step < schedule.steps) {
    const std::uint64_t seen = state.tokens_seen;
    trace.before(state.step + 1, trainer, collective);
    const StepReport report = trainer.step(state);
    const bool traced = trace.after(state.step, trainer, collective);
    const bool last = state.step == schedule.steps;
    if (outputs != nullptr) {
      outputs->metrics.step(state.step, state.tokens_seen, state.tokens_seen - seen, report);
      outputs->progress.step(state.step, report);
      if (traced) {
        outputs->progress.line(
            fmt::format("trace   {}{}", trace.file().string(),
                        trace.dropped() > 0 ? "; it ends early, give fewer steps" : ""));
      }
    }
    if (last || is_multiple(state.step, schedule.evaluate_every)) {
      evaluation = evaluator.evaluate(state.parameters.data());
      if (outputs != nullptr) {
        outputs->metrics.evaluation(state.step, state.tokens_seen, evaluation);
        outputs->progress.evaluation(state.step, evaluation);
      }
    }
    bool save = last || is_multiple(state.step, schedule.checkpoint_steps);
    if (schedule.checkpoint_seconds > 0) {
      save |= rank_0_says(since_checkpoint.elapsed() >= schedule.checkpoint_seconds, collective);
    }
    if (save) {
      if (outputs != nullptr) outputs->save(state);
      since_checkpoint.lap();
    }
  }
  return evaluation;
}

}  // namespace cllm::train
