#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace cllm::data {

/// What split patterns tell apart: `\p{L}`, `\p{N}`, `\s`, and all else.
enum class CharacterKind { letter, number, space, other };

struct Character {
  std::size_t length = 0;  ///< in bytes
  CharacterKind kind = CharacterKind::other;
};

/// Note [Unicode classes]. Ids must not change with a library's version, or a checkpoint would read
/// text otherwise on another machine; so classes are a table of this program (Unicode 16.0, which
/// is what Hugging Face's tokenizers have), not those of the regular expressions that are
/// installed: Debian 12's PCRE2 lacks 9272 of the letters.

/// The character that non-empty, well-formed UTF-8 starts with.
Character first_character(std::string_view text);

/// The length of the longest front of `text` that is well-formed UTF-8.
std::size_t well_formed_length(std::string_view text);

/// Normalisation form C of well-formed UTF-8.
std::string to_nfc(std::string_view text);

/// False only where `to_nfc` changes nothing; a quick look.
bool may_change_in_nfc(std::string_view text);

}  // namespace cllm::data
