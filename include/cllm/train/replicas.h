#pragma once

#include <string>

#include "cllm/base/thread_pool.h"
#include "cllm/model/layout.h"
#include "cllm/ranks/process_group.h"
#include "cllm/train/state.h"

namespace cllm::train {

/// What to do where ranks hold different weights.
enum class OnMismatch {
  kStop,
  kRestore,  ///< take rank 0's, where more than half of the ranks hold the same as it does
};

/// The digest of everything in a state that is alike on all ranks, the same for any number of
/// threads.
std::string digest_of(const State& state, ThreadPool& pool);

/// Compares the states of all ranks, which call it alike. Returns an empty text where they are the
/// same, and else what was found: which ranks differ, on which hosts. Throws it as a
/// ReplicatedError unless `action` allows to restore; after that all states are rank 0's.
std::string check_replicas(State& state, const model::Layout& layout, OnMismatch action,
                           ThreadPool& pool, ranks::ProcessGroup& process_group);

}  // namespace cllm::train
