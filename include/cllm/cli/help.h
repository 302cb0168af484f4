#pragma once

#include <CLI/CLI.hpp>
#include <memory>

namespace cllm::cli {

/// How --help looks: "--steps N   optimizer steps [2000]", in lines that a terminal has room for.
std::shared_ptr<CLI::Formatter> help_layout();

}  // namespace cllm::cli
