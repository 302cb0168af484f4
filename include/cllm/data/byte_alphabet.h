#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace cllm::data {

/// The characters that stand for bytes in the files of byte-level BPE: those that print for
/// themselves, the others, in order, for U+0100, U+0101, … (GPT-2's `bytes_to_unicode`).
std::string in_byte_alphabet(std::string_view bytes);

/// The bytes that a text of these characters stands for; none where it has another character.
std::optional<std::string> from_byte_alphabet(std::string_view text);

}  // namespace cllm::data
