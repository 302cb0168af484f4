#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "cllm/cli/option_values.h"
#include "cllm/model/layout.h"
#include "cllm/ranks/placement.h"
#include "cllm/ranks/process_group.h"
#include "cllm/train/memory_budget.h"

/// How many layers' activations are computed again in backward: --recompute.
namespace cllm::cli {

/// A number of layers, or `auto`, which is nothing.
Format<std::optional<std::uint64_t>> recompute_format();

/// Throws Error where the model hasn't so many layers that can do without their activations.
void check_recompute(const std::optional<std::uint64_t>& asked, const model::Layout& layout);

/// How many layers: what was asked for, or the fewest for which every host has the memory; where no
/// number suffices, as many as there can be. `budget_of`: the budget of this rank for a number.
/// All ranks call it, and get the same. Throws ReplicatedError as `check_recompute` throws Error.
std::size_t choose_recompute(
    const std::optional<std::uint64_t>& asked, const model::Layout& layout,
    const std::function<train::MemoryBudget(std::size_t recompute)>& budget_of,
    const std::vector<ranks::Site>& sites, ranks::ProcessGroup& process_group);

/// What it saves, for people, to go on from the budget's text; empty where nothing is computed
/// again.
std::string recompute_text(
    std::size_t recompute, std::size_t layers,
    const std::function<train::MemoryBudget(std::size_t recompute)>& budget_of);

}  // namespace cllm::cli
