#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "cllm/cli/option_values.h"

namespace cllm::cli {

/// A command-line argument list, without the program's name.
using Arguments = std::vector<std::string>;

/// What is said of an option without a value: `--resume "$UNSET"` is not to mean the same as no
/// option.
inline constexpr const char* kNoValue = "give a value, or leave the option out";

/// What a value of spaces alone is: a variable that wasn't set, as mostly, or a text like any
/// other.
enum class Blank { kRefused, kText };

/// Adds an option whose text `read` takes and `write` gives. Of one that is given twice, the later
/// counts; an empty value is refused, and so is a blank one. An Error of `read` is completed by the
/// option and the text: "--steps x: give a whole number".
CLI::Option* add_text_option(CLI::App& app, const std::string& name,
                             std::function<void(const std::string&)> read,
                             std::function<std::string()> write, const std::string& help,
                             Blank blank);

/// The same for one that may be given several times: `read` takes the i-th text. Texts hold no
/// newline.
CLI::Option* add_texts_option(CLI::App& app, const std::string& name,
                              std::function<void(std::size_t i, const std::string&)> read,
                              std::function<std::vector<std::string>()> write,
                              const std::string& help);

/// Adds paths that stand without an option, at least one.
CLI::Option* add_paths(CLI::App& app, const std::string& name, std::vector<std::string>& paths,
                       const std::string& help);

/// Whether an option may be given several times.
bool is_list(const CLI::Option& option);

/// Adds an option for a text or number.
template <typename T>
CLI::Option* add_option(CLI::App& app, const std::string& name, T& variable,
                        const std::string& help, Blank blank = Blank::kRefused) {
  const Format<T> format = [] {
    if constexpr (std::is_same_v<T, std::string>)
      return text_format();
    else
      return number_format<T>();
  }();
  return add_text_option(
             app, name,
             [&variable, read = format.read](const std::string& text) { variable = read(text); },
             [&variable, write = format.write] { return write(variable); }, help, blank)
      ->type_name(format.values);
}

/// The same for values of another form, with the default in the help text. What was given is
/// written as it was given: "90m" stays "90m".
template <typename T>
CLI::Option* add_option(CLI::App& app, const std::string& name, T& variable,
                        const Format<T>& format, const std::string& help) {
  CLI::Option* const option = add_text_option(
      app, name,
      [&variable, read = format.read](const std::string& text) { variable = read(text); }, {}, help,
      Blank::kRefused);
  option->default_function([&variable, option, write = format.write] {
    return option->count() > 0 ? option->results().back() : write(variable);
  });
  return option->type_name(format.values)->capture_default_str();
}

/// Adds an option that may be given several times: a list of what `format` reads, in that order.
/// Its TOML is one text, or an array of them.
template <typename T>
CLI::Option* add_list_option(CLI::App& app, const std::string& name, std::vector<T>& variable,
                             const Format<T>& format, const std::string& help) {
  return add_texts_option(
             app, name,
             [&variable, read = format.read](std::size_t i, const std::string& text) {
               if (i == 0) variable.clear();
               variable.push_back(read(text));
             },
             [&variable, write = format.write] {
               std::vector<std::string> texts;
               for (const T& value : variable) texts.push_back(write(value));
               return texts;
             },
             help)
      ->type_name(format.values);
}

/// Reads the TOML that a run needs, lines of `key = value` and comments, as if each key were an
/// option: {"--key=value", …}. `source` names the text in errors. Throws Error that names the line:
/// for one of another form or without a value, and for a key that stands twice, is of a retired
/// option, or that `app` has no option for, with the nearest name.
Arguments arguments_from_toml(const std::string& text, std::string_view source,
                              const CLI::App& app);

/// The same of what a checkpoint holds, but for keys without a value and those of retired options,
/// which old ones have: they are left out.
Arguments stored_arguments(const std::string& text, std::string_view source, const CLI::App& app);

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

/// The commands that it has.
std::vector<const CLI::App*> commands_of(const CLI::App& program);

/// The long names of its options, without dashes.
std::vector<std::string> option_names(const CLI::App& app);

}  // namespace cllm::cli
