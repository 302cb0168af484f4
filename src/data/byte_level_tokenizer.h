#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "cllm/data/tokenizer.h"

namespace cllm::data {

/// How tokens of this kind are stored: the blob is the text of a tokenizer.json.
inline constexpr std::string_view kByteLevelKind = "byte-level-bpe";

/// The tokenizer of the text of a tokenizer.json. Throws Error, naming `name`, where it is none.
std::unique_ptr<Tokenizer> make_byte_level(std::string_view json, const std::string& name);

}  // namespace cllm::data
