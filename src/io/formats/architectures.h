#pragma once

#include <string>
#include <string_view>

#include "cllm/model/config.h"

namespace cllm::io {

/// The model_type of transformers that has all parts of this model. Throws Error that names the
/// parts which the nearest one doesn't have.
std::string_view transformers_architecture(const model::ModelConfig& config);

/// The same of llama.cpp's architectures.
std::string_view llama_cpp_architecture(const model::ModelConfig& config);

}  // namespace cllm::io
