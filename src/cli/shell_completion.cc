#include "cllm/cli/shell_completion.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <string_view>
#include <vector>

#include "cllm/cli/arguments.h"

namespace cllm::cli {
namespace {

/// What may stand behind an option, as far as its help says.
struct Values {
  std::vector<std::string> words;
  bool is_path = false;
};

/// "auto|N" has a word, "DIR" is a path, and what any other name stands for nobody can guess.
Values values_of(const CLI::Option& option) {
  Values values;
  const std::string all = option.get_type_name();
  std::string_view names = all;
  while (!names.empty()) {
    const std::string_view name = names.substr(0, names.find('|'));
    names.remove_prefix(std::min(name.size() + 1, names.size()));
    const bool is_word = std::ranges::all_of(name, [](char c) {
      return std::islower(static_cast<unsigned char>(c)) != 0 ||
             std::isdigit(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_';
    });
    if (is_word && !name.empty()) values.words.emplace_back(name);
    for (const char* path : {"PATH", "FILE", "DIR"}) {
      if (name.starts_with(path)) values.is_path = true;
    }
  }
  return values;
}

std::string options_of(const CLI::App& app) {
  std::string text;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) {
      text += (text.empty() ? "--" : " --") + name;
    }
  }
  return text;
}

// --- bash ----------------------------------------------------------------------------------------

/// The lines of a `case` on "command option".
std::string bash_values(const CLI::App& app, const std::string& command) {
  std::string lines;
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_lnames().empty() || option->get_type_size() == 0) continue;
    const Values values = values_of(*option);
    std::string pattern;
    for (const std::string& name : option->get_lnames()) {
      pattern += fmt::format("{}'{} --{}'", pattern.empty() ? "" : " | ", command, name);
    }
    lines += fmt::format("    {}) {}words='{}' ;;\n", pattern, values.is_path ? "paths=1 " : "",
                         fmt::join(values.words, " "));
  }
  return lines;
}

std::string bash_completion(const CLI::App& program) {
  std::string names, options, values = bash_values(program, "");
  for (const CLI::App* command : commands_of(program)) {
    const std::string& name = command->get_name();
    names += (names.empty() ? "" : " ") + name;
    options += fmt::format("    {}) options='{}' ;;\n", name, options_of(*command));
    values += bash_values(*command, name);
  }
  return fmt::format(
      R"(# shellcheck shell=bash
# Completes cllm-dist in bash. Made by `cllm-dist completion bash`.
_cllm_dist() {{
  local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD - 1]}}
  local command='' options='{}' words='' paths='' names='{}'
  # "--option=value" comes as three words.
  if [[ $word == '=' ]]; then
    word=''
  elif [[ $before == '=' ]]; then
    before=${{COMP_WORDS[COMP_CWORD - 2]}}
  fi
  if ((COMP_CWORD > 1)) && [[ " $names " == *" ${{COMP_WORDS[1]}} "* ]]; then
    command=${{COMP_WORDS[1]}}
  fi
  case $command in
{}  esac
  COMPREPLY=()
  case "$command $before" in
{}    *)
      words=$options
      if ((COMP_CWORD == 1)); then words+=" $names"; fi
      if [[ $word != -* && -n $command ]]; then paths=1; fi
      ;;
  esac
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
  if [[ -n $paths ]]; then
    compopt -o filenames
    mapfile -t -O "${{#COMPREPLY[@]}}" COMPREPLY < <(compgen -f -- "$word")
  fi
}}
complete -F _cllm_dist cllm-dist
)",
      options_of(program), names, options, values);
}

// --- zsh -----------------------------------------------------------------------------------------

/// A text inside of a specification that is in single quotes.
std::string escaped(std::string_view text) {
  std::string result;
  for (const char c : text) {
    if (c == '\'') {
      result += "'\\''";
      continue;
    }
    if (std::string_view("[]:\\").find(c) != std::string_view::npos) result += '\\';
    result += c;
  }
  return result;
}

std::string zsh_action(const CLI::Option& option) {
  const Values values = values_of(option);
  if (values.is_path) return "_files";
  if (values.words.empty()) return " ";
  return fmt::format("({})", fmt::join(values.words, " "));
}

/// What `_arguments` is told of an app's options.
std::string zsh_options(const CLI::App& app) {
  std::string lines;
  for (const CLI::Option* option : app.get_options()) {
    const std::string help = escaped(option->get_description());
    for (const std::string& name : option->get_lnames()) {
      lines += fmt::format("    '*--{}", name);
      if (option->get_type_size() == 0) {
        lines += fmt::format("[{}]'\n", help);
      } else {
        lines += fmt::format("=[{}]:{}:{}'\n", help, escaped(option->get_type_name()),
                             zsh_action(*option));
      }
    }
  }
  return lines;
}

std::string zsh_completion(const CLI::App& program) {
  std::string commands, cases;
  for (const CLI::App* command : commands_of(program)) {
    const std::string& name = command->get_name();
    commands += fmt::format("    '{}:{}'\n", name, escaped(command->get_description()));
    cases +=
        fmt::format("  {}) options=(\n{}    '*:file:_files') ;;\n", name, zsh_options(*command));
  }
  return fmt::format(R"(#compdef cllm-dist
# Completes cllm-dist in zsh. Made by `cllm-dist completion zsh`.
_cllm_dist() {{
  local command=''
  local -a commands options
  commands=(
{}  )
  if (( CURRENT > 2 )); then command=$words[2]; fi
  case $command in
{}  *) command='' options=(
{}    '1: :{{_describe command commands}}') ;;
  esac
  if [[ -n $command ]]; then
    shift words
    (( CURRENT-- ))
  fi
  _arguments $options
}}
_cllm_dist "$@"
)",
                     commands, cases, zsh_options(program));
}

}  // namespace

std::string shell_completion(const CLI::App& program, Shell shell) {
  return shell == Shell::kBash ? bash_completion(program) : zsh_completion(program);
}

}  // namespace cllm::cli
