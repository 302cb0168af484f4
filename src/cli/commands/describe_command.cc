#include "cllm/base/output.h"
#include "cllm/cli/commands/commands.h"
#include "cllm/cli/manual.h"
#include "cllm/cli/shell_completion.h"
#include "cllm/ranks/agreement.h"

namespace cllm::cli {

void declare_manual_options(CLI::App& app, ManualSettings& s) {
  add_option(app, "command", s.command, "the command [the program]")->type_name("COMMAND");
  add_option(app, "--into", s.directory, "write all pages as files into DIR")->type_name("DIR");
}

void manual_command(const CLI::App& program, const ManualSettings& settings,
                    ranks::ProcessGroup& process_group) {
  ranks::in_agreement(process_group, [&] {
    if (process_group.rank() != 0) return;
    if (settings.directory.empty()) return put(stdout, manual_page(program, settings.command));
    if (!settings.command.empty()) {
      fail("--into {}: it gets all pages; leave out {}", settings.directory, settings.command);
    }
    write_manual(program, settings.directory);
  });
}

void declare_completion_options(CLI::App& app, Shell& shell) {
  add_option(app, "shell", shell, one_of<Shell>({{"bash", Shell::kBash}, {"zsh", Shell::kZsh}}),
             "bash or zsh");
}

void completion_command(const CLI::App& program, Shell shell, ranks::ProcessGroup& process_group) {
  ranks::in_agreement(process_group, [&] {
    if (process_group.rank() == 0) put(stdout, shell_completion(program, shell));
  });
}

}  // namespace cllm::cli
