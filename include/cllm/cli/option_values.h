#pragma once

#include <fmt/format.h>

#include <charconv>
#include <concepts>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cllm/base/error.h"

namespace cllm::cli {

/// How the values of an option are written.
template <typename T>
struct Format {
  std::string values;  ///< what may be given, for --help: "N", or "cosine|linear"
  /// Throws Error that goes on from "--option text: ", such as "give a number".
  std::function<T(const std::string&)> read;
  std::function<std::string(const T&)> write;  ///< empty where there is no value
};

/// The whole of the text as a number; nothing where it is none, or too large.
template <typename T>
std::optional<T> read_number(std::string_view text) {
  T number{};
  const char* const end = text.data() + text.size();
  const auto [stop, code] = std::from_chars(text.data(), end, number);
  if (code != std::errc() || stop != end) return std::nullopt;
  return number;
}

/// Seconds of "1h30m", "45s" or the like; nothing for any other text.
std::optional<double> read_duration(std::string_view text);

/// Whole seconds as `read_duration` reads them.
std::string write_duration(double seconds);

/// "a, b or c".
std::string alternatives(const std::vector<std::string>& words);

/// Any text.
inline Format<std::string> text_format() {
  const auto same = [](const std::string& text) { return text; };
  return {.values = "TEXT", .read = same, .write = same};
}

/// Any number that the type has room for; whole ones where it is of integers.
template <typename T>
Format<T> number_format() {
  return {.values = std::integral<T> ? "N" : "X",
          .read =
              [](const std::string& text) {
                if (const auto number = read_number<T>(text)) return *number;
                if constexpr (!std::integral<T>) fail("give a number");
                if constexpr (!std::unsigned_integral<T>) fail("give a whole number");
                fail("give a whole number from 0 to {}", std::numeric_limits<T>::max());
              },
          .write = [](const T& number) { return fmt::format("{}", number); }};
}

/// One of a few words. A value that has none is written as no text.
template <typename T>
Format<T> one_of(const std::vector<std::pair<std::string_view, T>>& known) {
  std::vector<std::string> words;
  for (const auto& [name, value] : known) words.emplace_back(name);
  return {.values = fmt::format("{}", fmt::join(words, "|")),
          .read =
              [known, words](const std::string& text) {
                for (const auto& [name, value] : known) {
                  if (name == text) return value;
                }
                fail("choose {}", alternatives(words));
              },
          .write =
              [known](const T& wanted) {
                for (const auto& [name, value] : known) {
                  if (value == wanted) return std::string(name);
                }
                return std::string();
              }};
}

/// A number from 1 to `most`, or the word that 0 stands for. `what` says what to give beside it:
/// "a number of threads".
template <std::integral T>
Format<T> count_or(const std::string& word, const std::string& what,
                   T most = std::numeric_limits<T>::max()) {
  return {.values = word + "|N",
          .read =
              [=](const std::string& text) {
                if (text == word) return T{0};
                const auto number = read_number<T>(text);
                if (!number || *number < 1 || *number > most) fail("give {}, or {}", word, what);
                return *number;
              },
          .write = [=](const T& count) { return count == 0 ? word : fmt::format("{}", count); }};
}

}  // namespace cllm::cli
