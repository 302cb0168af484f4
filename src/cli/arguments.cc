#include "cllm/cli/arguments.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "cllm/base/error.h"

namespace cllm::cli {
namespace {

/// Levenshtein's distance: insertions, deletions and replacements.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      row[j] = std::min({replaced, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row.back();
}

/// The app that the arguments end up in: a chosen subcommand, or the app itself.
CLI::App& chosen(CLI::App& app) {
  const auto subcommands = app.get_subcommands();
  return subcommands.empty() ? app : *subcommands.front();
}

std::vector<std::string> option_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  return names;
}

std::string suggestion(std::string_view name, const std::vector<std::string>& known) {
  const std::string_view near = nearest(name, known);
  return near.empty() ? "" : fmt::format("; did you mean {}?", near);
}

[[noreturn]] void refuse_unknown(CLI::App& app, const std::string& argument) {
  const CLI::App& target = chosen(app);
  if (argument.starts_with("-")) {
    const std::string name = argument.substr(0, argument.find('='));
    fail("unknown option {}{} (--help lists all)", name, suggestion(name, option_names(target)));
  }
  std::vector<std::string> commands;
  for (const CLI::App* command : app.get_subcommands({})) commands.push_back(command->get_name());
  fail("unexpected argument {}{} (--help lists all)", argument, suggestion(argument, commands));
}

}  // namespace

std::string_view nearest(std::string_view name, const std::vector<std::string>& known) {
  const std::string* best = nullptr;
  std::size_t fewest = std::max<std::size_t>(2, name.size() / 3) + 1;  // further is no typing error
  for (const std::string& candidate : known) {
    const std::size_t edits = edit_distance(name, candidate);
    if (edits < fewest) {
      fewest = edits;
      best = &candidate;
    }
  }
  return best == nullptr ? std::string_view{} : std::string_view(*best);
}

void parse(CLI::App& app, const Arguments& arguments) {
  Arguments reversed(arguments.rbegin(), arguments.rend());  // as CLI11 wants a vector
  try {
    app.parse(reversed);
  } catch (const CLI::Success&) {
    throw;
  } catch (const CLI::ExtrasError&) {
    refuse_unknown(app, app.remaining(true).front());
  } catch (const CLI::RequiredError& error) {
    // A required option may be missing because its name has a typing error.
    const std::vector<std::string> unknown = app.remaining(true);
    if (!unknown.empty()) refuse_unknown(app, unknown.front());
    fail("{} (--help explains the options)", error.what());
  } catch (const CLI::Error& error) {
    std::string message = error.what();
    std::ranges::replace(message, '\n', ' ');
    fail("{} (--help explains the options)", message);
  }
}

}  // namespace cllm::cli
