#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace cllm::cli {

enum class Shell { kBash, kZsh };

/// A script that completes the commands and options of the program in a shell, and the values of
/// options that are words or paths.
std::string shell_completion(const CLI::App& program, Shell shell);

}  // namespace cllm::cli
