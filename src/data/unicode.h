#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace cllm::data {

/// What split patterns tell apart: `\p{L}`, `\p{N}`, `\s`, and all else.
enum class CharacterKind : std::uint8_t { letter, number, space, other };

struct Character {
  std::size_t length = 0;  ///< in bytes
  CharacterKind kind = CharacterKind::other;
};

/// Note [Unicode classes]. Ids must not change with a library's version, or a checkpoint would read
/// text otherwise on another machine; so classes are a table of this program (Unicode 16.0, which
/// is what Hugging Face's tokenizers have), not those of the regular expressions that are
/// installed: Debian 12's PCRE2 lacks 9272 of the letters.

/// The code point of well-formed UTF-8 at `at`, of `length` bytes, at least two.
inline char32_t code_point(std::string_view text, std::size_t at, std::size_t length) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[at + i]); };
  char32_t code = byte(0) & (0x7Fu >> length);
  for (std::size_t i = 1; i < length; ++i) code = code << 6 | (byte(i) & 0x3F);
  return code;
}

/// The kind of every code point, two look-ups away: the page of its high bits, and in it the low
/// ones. Pages that are alike, which most are, are kept once. Immutable and thread-safe.
class KindTable {
 public:
  KindTable();

  CharacterKind operator[](char32_t code) const {
    return pages_[page_of_[code / kPageSize]][code % kPageSize];
  }
  /// The character that begins at `at` of well-formed UTF-8, before its end.
  Character character(std::string_view text, std::size_t at) const {
    const auto first = static_cast<unsigned char>(text[at]);
    if (first < 0x80) return {1, pages_[0][first]};
    const std::size_t length = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
    return {length, (*this)[code_point(text, at, length)]};
  }

 private:
  static constexpr std::size_t kPageSize = 256, kPages = 0x110000 / kPageSize;
  using Page = std::array<CharacterKind, kPageSize>;  // the first is that of ASCII

  std::array<std::uint16_t, kPages> page_of_;
  std::vector<Page> pages_;
};

/// The one table, made at the first call.
const KindTable& kind_table();

/// The length of the longest front of `text` that is well-formed UTF-8.
std::size_t well_formed_length(std::string_view text);

/// Normalisation form C of well-formed UTF-8.
std::string to_nfc(std::string_view text);

/// False only where `to_nfc` changes nothing: a quick look, which most texts pass. Bytes that are
/// no UTF-8 are passed over.
bool may_change_in_nfc(std::string_view text);

}  // namespace cllm::data
