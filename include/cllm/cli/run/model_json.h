#pragma once

#include <string>

#include "cllm/model/config.h"

namespace cllm::cli {

/// A model as text, for the other ranks of the same program.
std::string to_json(const model::ModelConfig& config);

/// Throws Error, nlohmann::json::exception for what `to_json` doesn't write.
model::ModelConfig model_from_json(const std::string& text);

}  // namespace cllm::cli
