#include <fmt/format.h>

#include <ctime>
#include <filesystem>
#include <span>

#include "cllm/base/error.h"
#include "cllm/base/file.h"
#include "cllm/base/quantities.h"
#include "cllm/cli/commands/commands.h"
#include "cllm/cli/program.h"
#include "cllm/ranks/agreement.h"
#include "cllm/report/report.h"

namespace cllm::cli {
namespace {

namespace fs = std::filesystem;

/// What somebody else wrote isn't to be lost; an earlier report is.
void require_may_write(const ReportSettings& s) {
  if (s.overwrite || !fs::exists(s.out)) return;
  if (fs::is_directory(s.out)) fail("--out {} is a directory; give the name of a file", s.out);
  if (!report::is_report(s.out)) {
    fail("--out {} is there and no report; give another name, or --overwrite", s.out);
  }
}

}  // namespace

void declare_report_options(CLI::App& app, ReportSettings& s) {
  add_paths(app, "run", s.runs, "DIR of a run, or of several, such as a sweep");
  add_option(app, "--out", s.out, "HTML file to write; an earlier report there is replaced")
      ->type_name("FILE");
  app.add_flag("--overwrite", s.overwrite, "replace --out whatever it is");
}

void report_command(const ReportSettings& settings, ranks::ProcessGroup& process_group) {
  ranks::in_agreement(process_group, [&] {
    if (process_group.rank() != 0) return;
    require_may_write(settings);
    const std::time_t now = std::time(nullptr);
    std::vector<report::RunRecord> runs = report::find_runs(settings.runs);
    for (report::RunRecord& run : runs) run.refresh(now);
    const std::string page = report::report_page(runs, now, version());
    write_atomically(settings.out, std::as_bytes(std::span(page)));
    fmt::print("wrote {}, {}, about {} run{}\n", settings.out, bytes_text(page.size()), runs.size(),
               runs.size() == 1 ? "" : "s");
  });
}

}  // namespace cllm::cli
