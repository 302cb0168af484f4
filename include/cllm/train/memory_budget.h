#pragma once

#include <algorithm>
#include <cstdint>
#include <string>

#include "cllm/model/layout.h"
#include "cllm/train/trainer.h"

namespace cllm::train {

/// What a rank's memory goes to, in bytes.
struct MemoryBudget {
  std::uint64_t parameters;
  std::uint64_t optimizer;      ///< what it keeps between steps, and works in
  std::uint64_t sums;           ///< of gradients
  std::uint64_t threads;        ///< activations and scratch of all teams, and BLAS' buffers
  std::uint64_t evaluation;     ///< the same while there is an evaluation, or a sample is written
  std::uint64_t communication;  ///< buffers for messages
  std::uint64_t checkpoint;     ///< the copy of the state that is written; on those who have it
  std::uint64_t statistics;     ///< of the corpus, before the first step and so before any copy
  std::uint64_t program;        ///< what was resident before: code, libraries, MPI

  /// What is still to be allocated for all of the run.
  std::uint64_t lasting() const { return parameters + optimizer + sums + threads + communication; }
  /// The most that is still to be allocated at one time.
  std::uint64_t to_allocate() const {
    return lasting() + std::max(statistics, evaluation + checkpoint);
  }
  std::uint64_t total() const { return to_allocate() + program; }
  /// "2.31 GB a rank: parameters 0.50, optimizer 1.00, …, and statistics 0.78 before the first
  /// step, …"
  std::string text() const;
};

/// The budget of this rank of `process_group`, for a model of `layout`. `background`: checkpoints
/// are written while training goes on. `statistics`: what the start of the token embedding takes,
/// see `corpus_bytes`. `samples`: rank 0 lets the model write.
MemoryBudget memory_budget(const model::Layout& layout, const TrainerOptions& options,
                           bool background, std::uint64_t statistics,
                           const ranks::ProcessGroup& process_group, bool samples = false);

}  // namespace cllm::train
