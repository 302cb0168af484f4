#include "cllm/report/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <ctime>

#include "cllm/base/quantities.h"
#include "cllm/base/utf8.h"

namespace cllm::report {
namespace {

constexpr std::string_view kReplacement = "\uFFFD";

/// Control characters, those of two bytes (U+0080 to U+009F) included.
bool is_control(std::string_view character) {
  const auto first = static_cast<unsigned char>(character[0]);
  if (character.size() == 1) return first < 0x20 || first == 0x7F;
  return first == 0xC2 && static_cast<unsigned char>(character[1]) < 0xA0;
}

/// Marks that change the direction or order of what follows them (U+202A to U+202E, U+2066 to
/// U+2069): they could make a line read as another.
bool is_direction(std::string_view character) {
  return (character >= "\u202A" && character <= "\u202E" && character.size() == 3) ||
         (character >= "\u2066" && character <= "\u2069" && character.size() == 3);
}

/// Calls `take` with each character of UTF-8, or with an empty one for a byte that is none.
template <typename Take>
void each_character(std::string_view text, const Take& take) {
  while (!text.empty()) {
    const std::size_t length = utf8_length(text);
    take(text.substr(0, length));
    text.remove_prefix(std::max<std::size_t>(length, 1));
  }
}

}  // namespace

std::string html_text(std::string_view text) {
  std::string result;
  each_character(text, [&](std::string_view character) {
    if (character == "&") {
      result += "&amp;";
    } else if (character == "<") {
      result += "&lt;";
    } else if (character == ">") {
      result += "&gt;";
    } else if (character == "\"") {
      result += "&quot;";
    } else if (character == "'") {
      result += "&#39;";
    } else if (character == "\n" || character == "\t") {
      result += character;
    } else {
      const bool is_bad = character.empty() || is_control(character) || is_direction(character);
      result += is_bad ? kReplacement : character;
    }
  });
  return result;
}

std::string terminal_text(std::string_view text, bool utf8) {
  std::string result;
  each_character(text, [&](std::string_view character) {
    const bool is_bad = character.empty() || is_control(character) || is_direction(character) ||
                        (!utf8 && character.size() > 1);
    const bool is_space = character == "\n" || character == "\t" || character == "\r";
    result += is_space ? " " : is_bad ? "?" : character;
  });
  return result;
}

std::size_t columns_of(std::string_view text) {
  std::size_t columns = 0;
  each_character(text, [&](std::string_view) { ++columns; });
  return columns;
}

std::string clipped(std::string_view text, std::size_t columns) {
  if (columns_of(text) <= columns) return std::string(text);
  if (columns == 0) return {};
  std::string result;
  std::size_t left = columns - 1;
  each_character(text, [&](std::string_view character) {
    if (left == 0) return;
    result += character;
    --left;
  });
  const bool is_ascii = std::ranges::all_of(text, [](char c) { return c >= 0; });
  return result + (is_ascii ? "~" : "…");
}

std::string decimal_text(double value, int decimals) {
  std::string digits = fmt::format("{:.{}f}", std::abs(value), decimals);
  const std::size_t whole = std::min(digits.find('.'), digits.size());
  for (std::size_t place = whole; place > 3; place -= 3) digits.insert(place - 3, 1, ',');
  return value < 0 ? fmt::format("-{}", digits) : digits;
}

std::string whole_text(std::uint64_t count) { return decimal_text(static_cast<double>(count), 0); }

std::string number_text(double value) {
  if (!std::isfinite(value)) return "not finite";
  const double size = std::abs(value);
  if (size >= 1e15) return fmt::format("{:.3g}", value);
  if (size >= 1e6) return fmt::format("{}{}", value < 0 ? "-" : "", count_text(size));
  if (size >= 1000 || value == std::round(value)) return decimal_text(value, 0);
  if (size >= 1e-3) return fmt::format("{:.4g}", value);
  return fmt::format("{:.3g}", value);
}

std::string time_text(std::int64_t time) {
  const std::time_t seconds = time;
  std::tm parts{};
  char text[64];
  if (time == 0 || ::gmtime_r(&seconds, &parts) == nullptr) return {};
  const std::size_t length = std::strftime(text, sizeof(text), "%Y-%m-%d %H:%M UTC", &parts);
  return {text, length};
}

}  // namespace cllm::report
