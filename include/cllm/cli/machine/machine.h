#pragma once

#include <filesystem>
#include <vector>

#include "cllm/data/mixed_data.h"
#include "cllm/kernels/kernels.h"
#include "cllm/ranks/placement.h"
#include "cllm/ranks/process_group.h"
#include "cllm/train/memory_budget.h"

namespace cllm::cli {

/// What this rank computes with, and what all do.
struct Machine {
  const kernels::Kernels& kernels;
  std::vector<ranks::Site> sites;  ///< of all ranks
  int threads;                     ///< of this rank
};

/// Looks at what all ranks have to compute with, widens the calling thread's affinity mask where
/// Note [Binding] in ranks/placement.h says so, and prepares BLAS on each. `threads`: of each
/// rank, or 0 for its share of its host's processors; `products`: a name, or empty for the usual
/// ones. All ranks call it alike. Throws ReplicatedError where a rank can't compute, or not as the
/// others do.
Machine prepare_machine(int threads, const std::string& products,
                        ranks::ProcessGroup& process_group);

/// Throws Error unless the host of `rank` has memory for what its ranks are about to allocate, each
/// as much as this one.
void check_memory(const train::MemoryBudget& budget, const std::vector<ranks::Site>& sites,
                  int rank);

/// Whether `check_memory` would find nothing to refuse.
bool fits_memory(const train::MemoryBudget& budget, const std::vector<ranks::Site>& sites,
                 int rank);

/// Throws ReplicatedError unless every rank sees what rank 0 writes into `directory`: a run could
/// else not go on from its checkpoints. All ranks call it alike.
void require_seen_by_all(const std::filesystem::path& directory,
                         ranks::ProcessGroup& process_group);

/// Throws ReplicatedError unless all ranks have the same tokens, as far as some hundred places in
/// each part tell: files may be copies, one of them old or damaged. All ranks call it alike.
void require_same_data(const data::MixedData& data, ranks::ProcessGroup& process_group);

}  // namespace cllm::cli
