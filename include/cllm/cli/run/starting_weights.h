#pragma once

#include <cstdint>

#include "cllm/cli/run/starting_point.h"
#include "cllm/model/layout.h"
#include "cllm/ranks/process_group.h"
#include "cllm/train/state.h"

namespace cllm::cli {

/// Fills the state, of a model of `layout`, that a run begins with: new weights, a checkpoint's
/// state, or the weights of --init-from, of which adapters are merged into its matrices; the run's
/// own adapters are new then. All ranks call it alike. Throws ReplicatedError, std::bad_alloc.
void fill_state(const StartingPoint& start, const model::Layout& layout, std::uint64_t seed,
                int threads, train::State& state, ranks::ProcessGroup& process_group);

/// Bytes that this takes beside the state.
std::uint64_t filling_bytes(const StartingPoint& start);

}  // namespace cllm::cli
