#include <fmt/format.h>
#include <toml++/toml.h>

#include <algorithm>
#include <sstream>

#include "cllm/base/error.h"
#include "cllm/cli/arguments.h"
#include "cllm/cli/other_names.h"
#include "cllm/cli/retired_options.h"

// Note [TOML]
// CLI11 reads TOML too, but cuts a quoted text at '#' and keeps its backslashes, so that a run
// whose path has one could not be resumed; toml++ reads all of it.

namespace cllm::cli {
namespace {

/// A value as the command line would have it. Throws Error that goes on from the name of the key.
std::string argument_of(const toml::node& value) {
  if (const auto* text = value.as_string()) return text->get();
  if (const auto* integer = value.as_integer()) return fmt::format("{}", integer->get());
  if (const auto* number = value.as_floating_point()) return fmt::format("{}", number->get());
  if (const auto* truth = value.as_boolean()) return truth->get() ? "true" : "false";
  if (value.is_table()) fail("is a section; write all keys without one");
  fail("takes one text or number");
}

/// The same of a value that may be an array, where the option is a list.
std::vector<std::string> arguments_of(const toml::node& value, const CLI::Option* option) {
  const toml::array* const array = value.as_array();
  if (array == nullptr || option == nullptr || !is_list(*option)) return {argument_of(value)};
  std::vector<std::string> arguments;
  for (const toml::node& each : *array) arguments.push_back(argument_of(each));
  if (arguments.empty()) fail("has no value; give one, or leave the line out");
  return arguments;
}

/// Whether TOML reads the text without quotes as a number or truth value that says the same.
bool is_bare(std::string_view value) {
  if (value == "true" || value == "false") return true;
  if (value.find_first_not_of("0123456789+-.e") != value.npos) return false;
  try {
    const toml::table table = toml::parse(fmt::format("value = {}", value));
    return table["value"].is_number() && argument_of(*table.get("value")) == value;
  } catch (const toml::parse_error&) {
    return false;
  }
}

std::string toml_value(std::string_view value) {
  if (is_bare(value)) return std::string(value);
  std::ostringstream text;
  text << toml::toml_formatter(toml::value<std::string>(value),
                               toml::format_flags::quote_dates_and_times);
  return text.str();
}

/// Lines as an array; one as it is.
std::string toml_list(std::string_view lines) {
  if (lines.find('\n') == lines.npos) return toml_value(lines);
  std::vector<std::string> values;
  while (!lines.empty()) {
    const std::string_view line = lines.substr(0, lines.find('\n'));
    values.push_back(toml_value(line));
    lines.remove_prefix(std::min(line.size() + 1, lines.size()));
  }
  return fmt::format("[{}]", fmt::join(values, ", "));
}

[[noreturn]] void refuse_key(std::string_view source, std::string_view key, const CLI::App& app) {
  std::vector<std::string> keys = option_names(app);
  std::erase(keys, "help");
  std::erase(keys, "config");
  fail("{}: unknown key {}{}", source, key, option_advice(key, keys, ""));
}

toml::table parsed(const std::string& text, std::string_view source) {
  try {
    return toml::parse(text, source);
  } catch (const toml::parse_error& error) {
    fail("{}: line {}: {}; write lines of the form key = value, and text in quotes", source,
         error.source().begin.line, error.description());
  }
}

/// Retired options are passed over: programs of before wrote them. So did they empty values, which
/// are refused elsewhere.
Arguments read_arguments(const std::string& text, std::string_view source, const CLI::App& app,
                         bool is_stored) {
  Arguments arguments;
  for (const auto& [key, value] : parsed(text, source)) {
    if (find_retired(key.str()) != nullptr) continue;
    const std::string key_name = "--" + std::string(key.str());
    const CLI::Option* const option = key_name == "--help" || key_name == "--config"
                                          ? nullptr
                                          : app.get_option_no_throw(key_name);
    if (option == nullptr && !value.is_table()) refuse_key(source, key.str(), app);
    // Of names that mean the same, the first stands for all.
    const std::string name = option == nullptr ? key_name : "--" + option->get_lnames().front();
    try {
      for (const std::string& argument : arguments_of(value, option)) {
        if (argument.empty() && !is_stored) fail("has no value; give one, or leave the line out");
        if (!argument.empty()) arguments.push_back(fmt::format("{}={}", name, argument));
      }
    } catch (const Error& error) {
      fail("{}: line {}: {} {}", source, value.source().begin.line, key.str(), error.what());
    }
  }
  return arguments;
}

}  // namespace

Arguments arguments_from_toml(const std::string& text, std::string_view source,
                              const CLI::App& app) {
  return read_arguments(text, source, app, false);
}

Arguments stored_arguments(const std::string& text, std::string_view source, const CLI::App& app) {
  return read_arguments(text, source, app, true);
}

std::string value_in_toml(const std::string& text, std::string_view key) {
  try {
    const toml::table table = toml::parse(text);
    const toml::node* value = table.get(key);
    return value == nullptr ? "" : argument_of(*value);
  } catch (const toml::parse_error&) {
    return {};
  } catch (const Error&) {  // a section
    return {};
  }
}

std::string toml_of(const CLI::App& app, const std::vector<std::string>& omitted,
                    const std::vector<std::string>& derived) {
  std::string text;
  for (CLI::Option* option : const_cast<CLI::App&>(app).get_options()) {
    if (option->get_lnames().empty()) continue;
    const std::string& name = option->get_lnames().front();
    option->capture_default_str();
    const std::string value = option->get_default_str();
    if (value.empty() || std::ranges::find(omitted, name) != omitted.end()) continue;
    const bool is_comment = std::ranges::find(derived, name) != derived.end();
    text += fmt::format("{}{} = {}\n", is_comment ? "# " : "", name,
                        is_list(*option) ? toml_list(value) : toml_value(value));
  }
  return text;
}

}  // namespace cllm::cli
