#pragma once

#include <CLI/CLI.hpp>
#include <filesystem>
#include <string>

namespace cllm::cli {

/// The manual page, as roff with the macros of man(7), of the program or of one of its commands,
/// made of the options that these declare. `command`: its name; empty for the program. Throws Error
/// where there is no such command.
std::string manual_page(const CLI::App& program, const std::string& command);

/// Writes the pages of the program and of each command into a directory: "cllm-dist.1",
/// "cllm-dist-sample.1", …. Throws Error.
void write_manual(const CLI::App& program, const std::filesystem::path& directory);

}  // namespace cllm::cli
