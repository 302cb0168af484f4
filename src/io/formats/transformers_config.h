#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "cllm/model/config.h"

namespace cllm::io {

/// The model that a config.json of transformers describes. Throws Error, one sentence that names
/// the file: where it is of a model_type that isn't trained here, asks for something that no model
/// here has (a scaled RoPE, say), or makes no sense.
model::ModelConfig model_of_transformers(const nlohmann::json& config, const std::string& file);

/// The reverse. `model_type` is one whose architecture has all parts of the model
/// (architectures.h).
nlohmann::json transformers_config(const model::ModelConfig& config, std::string_view model_type);

}  // namespace cllm::io
