#include "cllm/cli/manual.h"

#include <fmt/format.h>

#include <span>
#include <string_view>
#include <utility>

#include "cllm/base/error.h"
#include "cllm/base/file.h"
#include "cllm/cli/arguments.h"
#include "cllm/cli/program.h"

namespace cllm::cli {
namespace {

/// Text that roff takes for what it is: dashes of options are no hyphens, and a line may begin with
/// a dot or a quote.
std::string as_roff(std::string_view text) {
  std::string roff;
  for (const char c : text) {
    if ((roff.empty() || roff.back() == '\n') && (c == '.' || c == '\'')) roff += "\\&";
    if (c == '-') {
      roff += "\\-";
    } else if (c == '\\') {
      roff += "\\e";
    } else {
      roff += c;
    }
  }
  return roff;
}

std::string bold(std::string_view text) { return "\\fB" + as_roff(text) + "\\fR"; }
std::string italic(std::string_view text) { return "\\fI" + as_roff(text) + "\\fR"; }

std::string with_period(std::string text) { return text.ends_with('.') ? text : text + '.'; }

/// An option, or what stands without one.
std::string entry(const CLI::Option& option) {
  std::string head;
  for (const std::string& name : option.get_lnames()) {
    head += (head.empty() ? "" : ", ") + bold("--" + name);
  }
  for (const std::string& name : option.get_snames()) {
    head += (head.empty() ? "" : ", ") + bold("-" + name);
  }
  if (option.get_positional()) head = italic(option.get_name());
  if (option.get_type_size() != 0 && !option.get_positional()) {
    head += ' ' + italic(option.get_type_name());
  }
  std::string text = option.get_description();
  if (option.get_required()) text += " (required)";
  if (const std::string usual = option.get_default_str(); !usual.empty()) {
    text += fmt::format(" [{}]", usual);
  }
  return fmt::format(".TP\n{}\n{}\n", head, as_roff(text));
}

std::string options_of(const CLI::App& app) {
  std::string text = ".SH OPTIONS\n";
  for (const std::string& group : app.get_groups()) {
    std::string entries;
    for (const CLI::Option* option : app.get_options()) {
      if (option->get_group() == group) entries += entry(*option);
    }
    if (entries.empty()) continue;
    if (app.get_groups().size() > 1) text += ".SS " + as_roff(group) + '\n';
    text += entries;
  }
  return text;
}

std::string title(const std::string& name, const std::string& what) {
  std::string upper = name;
  for (char& c : upper) {
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  }
  return fmt::format(".TH {} 1 \"\" \"cllm\\-dist {}\" \"User commands\"\n.SH NAME\n{} \\- {}\n",
                     as_roff(upper), version(), as_roff(name), as_roff(what));
}

std::string page_of_program(const CLI::App& program) {
  std::string text = title("cllm-dist", "train language models on CPU clusters");
  text += fmt::format(".SH SYNOPSIS\n{0} [{1}]\n.br\n{2} [{1}]\n.br\n{0} {3} [{1}]\n",
                      bold("cllm-dist"), italic("options"), bold("mpirun -np N cllm-dist"),
                      italic("COMMAND"));
  text +=
      ".SH DESCRIPTION\nWithout a command it trains; every option has a default. With a launcher "
      "it "
      "is the same run on several ranks.\n" +
      options_of(program) + ".SH COMMANDS\n";
  for (const CLI::App* command : commands_of(program)) {
    text += fmt::format(".TP\n{}\n{}\n", bold(command->get_name()),
                        as_roff(with_period(command->get_description())));
  }
  text += ".SH EXIT STATUS\n";
  const std::pair<const char*, const char*> codes[] = {
      {"0", "All is done. A run that is complete leaves a file \"complete\" in its directory."},
      {"1", "An error, which one sentence on standard error tells."},
      {"75", "The run was stopped and saved, and is to be continued with --resume."},
      {"76", "A rank was silent for too long, which one sentence tells."}};
  for (const auto& [code, meaning] : codes) {
    text += fmt::format(".TP\n{}\n{}\n", bold(code), as_roff(meaning));
  }
  return text;
}

std::string page_of_command(const CLI::App& command) {
  const std::string& name = command.get_name();
  std::string arguments;
  for (const CLI::Option* option : command.get_options()) {
    if (!option->get_positional()) continue;
    const std::string argument = italic(option->get_name());
    arguments += option->get_required() ? ' ' + argument : " [" + argument + ']';
  }
  return title("cllm-dist-" + name, command.get_description()) +
         fmt::format(".SH SYNOPSIS\n{} [{}]{}\n", bold("cllm-dist " + name), italic("options"),
                     arguments) +
         options_of(command);
}

std::string see_also(const CLI::App& program, const std::string& command) {
  std::string text = ".SH SEE ALSO\n";
  std::string between;
  const auto refer = [&](const std::string& name) {
    text += between + bold(name) + "(1)";
    between = ",\n";
  };
  if (!command.empty()) refer("cllm-dist");
  if (command.empty()) {
    for (const CLI::App* each : commands_of(program)) refer("cllm-dist-" + each->get_name());
  }
  return text + '\n';
}

}  // namespace

std::string manual_page(const CLI::App& program, const std::string& command) {
  if (command.empty()) return page_of_program(program) + see_also(program, command);
  for (const CLI::App* each : commands_of(program)) {
    if (each->get_name() == command) return page_of_command(*each) + see_also(program, command);
  }
  fail("man {}: there is no such command; --help lists all", command);
}

void write_manual(const CLI::App& program, const std::filesystem::path& directory) {
  make_directories(directory);
  const auto write = [&](const std::string& name, const std::string& command) {
    const std::string page = manual_page(program, command);
    write_atomically(directory / (name + ".1"), std::as_bytes(std::span(page)));
  };
  write("cllm-dist", "");
  for (const CLI::App* command : commands_of(program)) {
    write("cllm-dist-" + command->get_name(), command->get_name());
  }
}

}  // namespace cllm::cli
