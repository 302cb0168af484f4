#pragma once

#include <string_view>

#include "cllm/base/stop_signals.h"
#include "cllm/cli/arguments.h"
#include "cllm/cli/run/time_left.h"
#include "cllm/ranks/process_group.h"

namespace cllm::cli {

/// The version of this program.
std::string_view version();

/// Whether the command is for all ranks of a launch together. Those that only look at what runs
/// have written, or say what the program is, need no MPI, and so run where that can't start: one
/// process alone.
bool needs_ranks(const Arguments& arguments);

/// Reads the command line and runs the command it names. All ranks call it, and with the same
/// arguments, else all throw. Training minds the signals and `job`, and all else gives them up.
/// Prints help where asked for. Returns the program's exit code. Throws Error as the commands do.
int run_program(const Arguments& arguments, ranks::ProcessGroup& process_group,
                StopSignals& signals, const TimeLeft& job);

}  // namespace cllm::cli
