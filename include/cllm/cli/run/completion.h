#pragma once

#include <filesystem>
#include <string>

#include "cllm/cli/run/starting_point.h"
#include "cllm/train/goal.h"
#include "cllm/train/state.h"

namespace cllm::cli {

// What a run leaves when it is complete. On rank 0 alone; everything throws Error.

/// Marks the run in `directory` as complete: with a file "complete" that says after how many steps,
/// and, where that was before the last, why, and which checkpoint is the best.
void mark_complete(const std::filesystem::path& directory, const train::Goal& goal,
                   const train::StateValues& state);

/// Takes the mark away from a run that goes on.
void unmark_complete(const std::filesystem::path& directory);

/// Leaves a run without a step to take as its last start would have, had nothing ended that on its
/// way out. A directory that holds no such run, or more of it, stays as it is.
void tidy_up(const std::filesystem::path& directory, const StartingPoint& start,
             const train::Goal& goal, const train::StateValues& state);

/// What there is to say where a run has nothing to do, because it is complete.
std::string nothing_to_do(const train::Goal& goal, const train::StateValues& state);

/// The checkpoint in `directory` of the best evaluation; empty where there is none.
std::filesystem::path best_checkpoint(const std::filesystem::path& directory,
                                      const train::StateValues& state);

/// "validation loss 2.3051 at step 400: checkpoints/a/step-00000400.h5", or that this one is not
/// there; empty where nothing was evaluated.
std::string best_text(const std::filesystem::path& directory, const train::StateValues& state);

}  // namespace cllm::cli
