#include "unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "cllm/base/error.h"
#include "cllm/base/utf8.h"
#include "unicode_ranges.h"

namespace cllm::data {
namespace {

template <std::size_t N>
bool holds(const std::array<CodeRange, N>& ranges, char32_t code) {
  const auto next = std::ranges::upper_bound(ranges, code, {}, &CodeRange::first);
  return next != ranges.begin() && code <= std::prev(next)->last;
}

CharacterKind kind_of(char32_t code) {
  if (holds(kLetterRanges, code)) return CharacterKind::letter;
  if (holds(kNumberRanges, code)) return CharacterKind::number;
  return holds(kSpaceRanges, code) ? CharacterKind::space : CharacterKind::other;
}

CharacterKind kind_of_ascii(char c) {
  if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) return CharacterKind::letter;
  if (c >= '0' && c <= '9') return CharacterKind::number;
  const bool is_space = c == ' ' || (c >= '\t' && c <= '\r');
  return is_space ? CharacterKind::space : CharacterKind::other;
}

}  // namespace

Character first_character(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned first = byte(0);
  if (first < 0x80) return {1, kind_of_ascii(text[0])};
  const std::size_t length = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
  char32_t code = first & (0x7Fu >> length);
  for (std::size_t i = 1; i < length; ++i) code = code << 6 | (byte(i) & 0x3F);
  return {length, kind_of(code)};
}

std::size_t well_formed_length(std::string_view text) {
  std::size_t at = 0;
  while (at < text.size()) {
    std::uint64_t eight = 0;  // nearly all text is ASCII, so this is most of the way
    if (text.size() - at >= sizeof(eight)) {
      std::memcpy(&eight, text.data() + at, sizeof(eight));
      if ((eight & 0x8080808080808080u) == 0) {
        at += sizeof(eight);
        continue;
      }
    }
    const std::size_t length = utf8_length(text.substr(at));
    if (length == 0) break;
    at += length;
  }
  return at;
}

std::string to_nfc(std::string_view text) {
  utf8proc_uint8_t* made = nullptr;
  const auto length =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                   static_cast<utf8proc_ssize_t>(text.size()), &made,
                   static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  const std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> owner(made, &std::free);
  if (length < 0) fail("cannot normalise a text: {}", utf8proc_errmsg(length));
  return {reinterpret_cast<const char*>(made), static_cast<std::size_t>(length)};
}

bool may_change_in_nfc(std::string_view text) {
  // Nothing below U+0300, whose first byte is 0xCC, decomposes or composes by itself.
  return std::ranges::any_of(text, [](char c) { return static_cast<unsigned char>(c) >= 0xCC; });
}

}  // namespace cllm::data
