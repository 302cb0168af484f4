#include "unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>

#include "cllm/base/error.h"
#include "cllm/base/utf8.h"
#include "unicode_ranges.h"

namespace cllm::data {
namespace {

CharacterKind kind_of_ascii(char32_t c) {
  if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) return CharacterKind::letter;
  if (c >= '0' && c <= '9') return CharacterKind::number;
  const bool is_space = c == ' ' || (c >= '\t' && c <= '\r');
  return is_space ? CharacterKind::space : CharacterKind::other;
}

}  // namespace

KindTable::KindTable() {
  std::vector<CharacterKind> kinds(kPages * kPageSize, CharacterKind::other);
  for (char32_t code = 0; code < 0x80; ++code) kinds[code] = kind_of_ascii(code);
  const auto set = [&](const auto& ranges, CharacterKind kind) {
    for (const auto& [first, last] : ranges) {
      std::fill(kinds.begin() + first, kinds.begin() + last + 1, kind);
    }
  };
  set(kLetterRanges, CharacterKind::letter);
  set(kNumberRanges, CharacterKind::number);
  set(kSpaceRanges, CharacterKind::space);
  std::map<Page, std::uint16_t> known;
  for (std::size_t i = 0; i < kPages; ++i) {
    Page page;
    std::copy_n(kinds.begin() + static_cast<std::ptrdiff_t>(i * kPageSize), kPageSize,
                page.begin());
    const auto [found, is_new] = known.try_emplace(page, static_cast<std::uint16_t>(pages_.size()));
    if (is_new) pages_.push_back(page);
    page_of_[i] = found->second;
  }
}

const KindTable& kind_table() {
  static const KindTable table;
  return table;
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

namespace {

/// The code points with which normalisation may have something to do: those that it changes where
/// they stand alone, marks (which may have to change places), what a character decomposes to
/// behind its first part (which may join what is before it), and characters whose first part is
/// any of these. Text of others alone decomposes to parts that stay where they are, and compose to
/// the same characters again.
class NfcTable {
 public:
  NfcTable() : may_change_(kCodes) {
    std::vector<std::pair<char32_t, char32_t>> first_parts;
    for (char32_t code = 0; code < kCodes; ++code) {
      if (code >= 0xD800 && code < 0xE000) continue;
      const auto character = static_cast<utf8proc_int32_t>(code);
      if (utf8proc_get_property(character)->combining_class != 0) may_change_[code] = true;
      std::array<utf8proc_int32_t, kMostParts> parts{};
      int boundary = 0;
      auto count = utf8proc_decompose_char(character, parts.data(), kMostParts,
                                           static_cast<utf8proc_option_t>(kDecompose), &boundary);
      if (count < 1 || count > kMostParts) fail("cannot decompose the character {:04X}", character);
      if (count == 1 && parts[0] == character) continue;
      first_parts.emplace_back(code, parts[0]);
      for (utf8proc_ssize_t i = 1; i < count; ++i) {
        may_change_[static_cast<std::size_t>(parts[static_cast<std::size_t>(i)])] = true;
      }
      count = utf8proc_normalize_utf32(parts.data(), count,
                                       static_cast<utf8proc_option_t>(kDecompose | kCompose));
      if (count != 1 || parts[0] != character) may_change_[code] = true;
    }
    for (const auto& [code, first] : first_parts) {
      if (may_change_[first]) may_change_[code] = true;
    }
  }

  bool operator[](char32_t code) const { return may_change_[code]; }

 private:
  static constexpr std::size_t kCodes = 0x110000;
  static constexpr int kMostParts = 8;  // four is the most that any has
  static constexpr int kDecompose = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE;
  static constexpr int kCompose = UTF8PROC_COMPOSE;
  std::vector<bool> may_change_;
};

}  // namespace

bool may_change_in_nfc(std::string_view text) {
  static const NfcTable table;
  for (std::size_t at = 0; at < text.size();) {
    const auto first = static_cast<unsigned char>(text[at]);
    if (first < 0x80) {
      ++at;
      continue;
    }
    const std::size_t length = utf8_length(text.substr(at));
    if (length > 0 && table[code_point(text, at, length)]) return true;
    at += std::max<std::size_t>(1, length);
  }
  return false;
}

}  // namespace cllm::data
