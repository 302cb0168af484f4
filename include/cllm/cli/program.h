#pragma once

#include <string_view>

#include "cllm/cli/arguments.h"
#include "cllm/train/collective.h"

namespace cllm::cli {

/// The version of this program.
std::string_view version();

/// Reads the command line and runs the command it names. All ranks call it, and with the same
/// arguments, else all throw. Prints help where asked for. Throws Error as the commands do.
void run_program(const Arguments& arguments, train::Collective& collective);

}  // namespace cllm::cli
