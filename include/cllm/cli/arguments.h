#pragma once

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <limits>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace cllm::cli {

/// A command-line argument list, without the program's name.
using Arguments = std::vector<std::string>;

/// What is said of an option without a value: `--resume "$UNSET"` is not to mean the same as no
/// option.
inline constexpr const char* kNoValue = "give a value, or leave the option out";

/// What a value of spaces alone is: a variable that wasn't set, as mostly, or a text like any
/// other.
enum class Blank { kRefused, kText };

/// Adds an option. Of one that is given twice, the later counts; an empty value is refused, which
/// CLI11 would take for none or for 0, and so is a blank one. Where the variable has no sign, it
/// would take a negative number for a huge one and a huge one for the largest; a fraction it would
/// write with six digits, which is not the number that was read.
template <typename T>
CLI::Option* add_option(CLI::App& app, const char* name, T& variable, const std::string& help,
                        Blank blank = Blank::kRefused) {
  CLI::Option* option =
      app.add_option(name, variable, help)->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  option->check(
      [option, blank](const std::string& text) {
        const bool has_value = blank == Blank::kText
                                   ? !text.empty()
                                   : text.find_first_not_of(" \t\r\n") != std::string::npos;
        if (has_value) return "";
        return option->get_required() ? "give a value" : kNoValue;
      },
      "");
  if constexpr (std::is_unsigned_v<T>) {
    option->check(
        [](const std::string& text) -> std::string {
          T number = 0;
          const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), number);
          if (code == std::errc() && end == text.data() + text.size()) return {};
          return fmt::format("{}: give a whole number from 0 to {}", text,
                             std::numeric_limits<T>::max());
        },
        "");
  }
  if constexpr (std::is_floating_point_v<T>) {
    option->default_function([&variable] { return fmt::format("{}", variable); });
  }
  return option;
}

/// Reads the TOML that a run needs, lines of `key = value` and comments, as if each key were an
/// option: {"--key=value", …}. `origin` names the text in errors. Throws Error that names the line:
/// for one of another form or without a value, and for a key that stands twice or that `app` has no
/// option for, with the nearest name.
Arguments arguments_from_toml(const std::string& text, std::string_view origin,
                              const CLI::App& app);

/// The same of what a checkpoint holds, but for keys without a value, which old ones have.
Arguments stored_arguments(const std::string& text, std::string_view origin, const CLI::App& app);

/// The value of one key of such a text; empty where it has none, or can't be read.
std::string value_in_toml(const std::string& text, std::string_view key);

/// TOML of the options of `app` that have a value, as their variables stand now, but for those in
/// `omitted`; those in `derived` as comments, to be read by people alone.
std::string toml_of(const CLI::App& app, const std::vector<std::string>& omitted,
                    const std::vector<std::string>& derived = {});

/// Parses, and throws Error with one sentence where CLI11 would print several; unknown options and
/// subcommands come with the name that was meant, or why there is none. Help and version throw
/// CLI::Success's kin as ever.
void parse(CLI::App& app, const Arguments& arguments);

/// The long names of its options, without dashes.
std::vector<std::string> option_names(const CLI::App& app);

}  // namespace cllm::cli
