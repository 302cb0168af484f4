#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "cllm/data/byte_level.h"
#include "cllm/data/tokenizer.h"

namespace cllm::data {

/// The tokenizer of the text of a tokenizer.json. Throws Error, naming `name`, where it is none.
std::unique_ptr<Tokenizer> make_byte_level(std::string_view json, const std::string& name);

}  // namespace cllm::data
