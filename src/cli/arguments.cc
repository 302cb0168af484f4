#include "cllm/cli/arguments.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "cllm/base/error.h"
#include "cllm/cli/other_names.h"
#include "cllm/cli/retired_options.h"

namespace cllm::cli {
namespace {

/// The app that the arguments end up in: a chosen subcommand, or the app itself.
CLI::App& chosen(CLI::App& app) {
  const auto subcommands = app.get_subcommands();
  return subcommands.empty() ? app : *subcommands.front();
}

[[noreturn]] void refuse_unknown(CLI::App& app, const std::string& argument) {
  if (argument.starts_with("-")) {
    const std::string name = argument.substr(0, argument.find('='));
    const std::string bare = name.substr(std::min(name.find_first_not_of('-'), name.size()));
    if (const RetiredOption* const retired = find_retired(bare)) {
      fail("{} is no longer an option: {}; leave it out", name, retired->why);
    }
    fail("unknown option {}{} (--help lists all)", name,
         option_advice(bare, option_names(chosen(app)), "--"));
  }
  std::vector<std::string> commands;
  for (const CLI::App* command : commands_of(app)) commands.push_back(command->get_name());
  fail("unexpected argument {}{} (--help lists all)", argument, command_advice(argument, commands));
}

}  // namespace

CLI::Option* add_text_option(CLI::App& app, const std::string& name,
                             std::function<void(const std::string&)> read,
                             std::function<std::string()> write, const std::string& help,
                             Blank blank) {
  const std::string first_name = name.substr(0, name.find(','));
  CLI::Option* const option = app.add_option(
      name,
      [first_name, read = std::move(read)](const CLI::results_t& texts) {
        try {
          read(texts.back());
        } catch (const Error& error) {
          fail("{} {}: {}", first_name, texts.back(), error.what());
        }
        return true;
      },
      help, false, std::move(write));
  option->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  option->check(
      [option, blank](const std::string& text) {
        const bool has_value = blank == Blank::kText
                                   ? !text.empty()
                                   : text.find_first_not_of(" \t\r\n") != std::string::npos;
        if (has_value) return "";
        return option->get_required() ? "give a value" : kNoValue;
      },
      "");
  return option;
}

CLI::Option* add_texts_option(CLI::App& app, const std::string& name,
                              std::function<void(std::size_t, const std::string&)> read,
                              std::function<std::vector<std::string>()> write,
                              const std::string& help) {
  CLI::Option* const option = app.add_option(
      name,
      [name, read = std::move(read)](const CLI::results_t& texts) {
        for (std::size_t i = 0; i < texts.size(); ++i) {
          try {
            if (texts[i].find('\n') != std::string::npos) fail("give it without a newline");
            read(i, texts[i]);
          } catch (const Error& error) {
            fail("{} {}: {}", name, texts[i], error.what());
          }
        }
        return true;
      },
      help, false,
      [write = std::move(write)] { return fmt::format("{}", fmt::join(write(), "\n")); });
  option->expected(1);
  option->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  option->check(
      [](const std::string& text) {
        return text.find_first_not_of(" \t\r\n") != std::string::npos ? "" : kNoValue;
      },
      "");
  return option;
}

CLI::Option* add_paths(CLI::App& app, const std::string& name, std::vector<std::string>& paths,
                       const std::string& help) {
  CLI::Option* const option = app.add_option(name, paths, help);
  option->type_name("DIR")->required();
  option->check([](const std::string& text) { return text.empty() ? "give a value" : ""; }, "");
  return option;
}

bool is_list(const CLI::Option& option) {
  return option.get_multi_option_policy() == CLI::MultiOptionPolicy::TakeAll;
}

std::vector<const CLI::App*> commands_of(const CLI::App& program) {
  return program.get_subcommands([](const CLI::App*) { return true; });
}

std::vector<std::string> option_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back(name);
  }
  return names;
}

void parse(CLI::App& app, const Arguments& arguments) {
  // CLI11 would take the next argument for the value.
  for (const std::string& argument : arguments) {
    if (argument.starts_with("--") && argument.find('=') + 1 == argument.size()) {
      fail("{}: {}", argument, kNoValue);
    }
  }
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
