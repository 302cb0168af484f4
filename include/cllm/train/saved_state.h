#pragma once

#include <filesystem>
#include <span>
#include <string>

#include "cllm/model/layout.h"
#include "cllm/ranks/process_group.h"
#include "cllm/train/state.h"

namespace cllm::train {

/// All of a state but its flat buffers, step and tokens_seen, as JSON; it is put into the JSON
/// object `more`, which has other keys. The newest start in the list "history" of that, if it has
/// one, gets the step as "to_step". Numbers come back with the same bits.
std::string state_to_json(const StateValues& state, const std::string& more);

/// The reverse. What the text lacks gets the value that it has where no step was ever skipped;
/// `state` has step and tokens_seen already. Throws Error that names `from`, where the text was.
void state_from_json(const std::string& text, const std::string& from, const model::Layout& layout,
                     StateValues& state);

/// Gives rank 0's state to all. All ranks call it alike, as they do what follows.
void broadcast_state(ranks::ProcessGroup& process_group, const model::Layout& layout, State& state);

/// Reads a state on rank 0, and gives it to all: a checkpoint is read once, however many ranks
/// there are, and only rank 0 has to see it. What the optimizer keeps of tensors that were not
/// trained then stays as it is, and where it was not the same that was trained, scales and norms of
/// gradients have no history. Throws Error that names the checkpoint, on all ranks
/// alike, where it isn't whole, or of another model than `layout`; the state may then hold
/// anything.
void restore(const std::filesystem::path& checkpoint, const model::Layout& layout, State& state,
             ranks::ProcessGroup& process_group);

/// The same of a model's parameters alone, a flat buffer of `layout`.
void read_parameters(const std::filesystem::path& checkpoint, const model::Layout& layout,
                     std::span<float> parameters, ranks::ProcessGroup& process_group);

}  // namespace cllm::train
