#pragma once

#include <functional>
#include <string>

#include "cllm/ranks/process_group.h"

namespace cllm::ranks {

/// Runs `work` on every rank and waits for all. Where it throws on any, every rank throws one
/// ReplicatedError with the first failing rank's message, so that no rank is left waiting. `work`
/// may contain further agreements, and no other exchange: a rank that fails before one of them
/// takes part in it all the same.
void in_agreement(ProcessGroup& process_group, const std::function<void()>& work);

/// Runs `work` on rank 0 and gives its result to all. Where it throws, every rank throws.
std::string on_rank_0(ProcessGroup& process_group, const std::function<std::string()>& work);

}  // namespace cllm::ranks
