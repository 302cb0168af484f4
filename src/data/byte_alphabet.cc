#include "cllm/data/byte_alphabet.h"

#include <array>
#include <cstdint>

#include "cllm/base/utf8.h"

namespace cllm::data {
namespace {

constexpr bool prints(unsigned byte) {
  return (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
}

constexpr unsigned kFirstOther = 0x100;

/// The character, as its number, of each byte.
constexpr std::array<unsigned, 256> kCodes = [] {
  std::array<unsigned, 256> codes{};
  unsigned other = kFirstOther;
  for (unsigned byte = 0; byte < 256; ++byte) codes[byte] = prints(byte) ? byte : other++;
  return codes;
}();

/// The byte of each character; -1 where it stands for none.
constexpr std::array<int, kFirstOther + 68> kBytes = [] {
  std::array<int, kFirstOther + 68> bytes{};
  bytes.fill(-1);
  for (unsigned byte = 0; byte < 256; ++byte) bytes[kCodes[byte]] = static_cast<int>(byte);
  return bytes;
}();

}  // namespace

std::string in_byte_alphabet(std::string_view bytes) {
  std::string text;
  for (const char c : bytes) {
    const unsigned code = kCodes[static_cast<unsigned char>(c)];
    if (code < 0x80) {
      text += static_cast<char>(code);
    } else {
      text += static_cast<char>(0xC0 | code >> 6);
      text += static_cast<char>(0x80 | (code & 0x3F));
    }
  }
  return text;
}

std::optional<std::string> from_byte_alphabet(std::string_view text) {
  std::string bytes;
  while (!text.empty()) {
    const std::size_t length = utf8_length(text);
    if (length != 1 && length != 2) return {};
    unsigned code = static_cast<unsigned char>(text[0]);
    if (length == 2) code = (code & 0x1F) << 6 | (static_cast<unsigned char>(text[1]) & 0x3F);
    if (code >= kBytes.size() || kBytes[code] < 0) return {};
    bytes += static_cast<char>(kBytes[code]);
    text.remove_prefix(length);
  }
  return bytes;
}

}  // namespace cllm::data
