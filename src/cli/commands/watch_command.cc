#include <fmt/format.h>
#include <langinfo.h>
#include <locale.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <ctime>
#include <vector>

#include "cllm/base/error.h"
#include "cllm/base/interrupt.h"
#include "cllm/base/output.h"
#include "cllm/base/stopwatch.h"
#include "cllm/cli/commands/commands.h"
#include "cllm/cli/machine/slurm.h"
#include "cllm/ranks/agreement.h"
#include "cllm/report/screen.h"

namespace cllm::cli {
namespace {

using report::RunRecord;
using report::Status;

/// Seconds between questions to Slurm, whose controller has others to answer, and for its answer,
/// which a picture waits for.
constexpr double kAskEvery = 30;
constexpr int kAnswer = 3;

/// Runs whose jobs are asked for.
constexpr std::size_t kMostJobs = 16;

/// Seconds between looks whether somebody interrupts.
constexpr double kLook = 0.2;

constexpr double kLeastEvery = 1, kMostEvery = 3600;

bool locale_is_utf8() {
  const locale_t locale = ::newlocale(LC_CTYPE_MASK, "", nullptr);
  if (locale == nullptr) return false;
  const std::string_view name = ::nl_langinfo_l(CODESET, locale);
  const bool is_utf8 = name == "UTF-8";
  ::freelocale(locale);
  return is_utf8;
}

report::ScreenSize screen_size(bool is_terminal) {
  constexpr std::size_t kMostColumns = 120, kLeastColumns = 40;
  report::ScreenSize size{.utf8 = locale_is_utf8()};
  winsize window{};
  if (!is_terminal || ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &window) != 0) return size;
  // A line that fills the last column makes some terminals go to the next one.
  if (window.ws_col > 0) {
    size.columns = std::clamp<std::size_t>(window.ws_col - 1U, kLeastColumns, kMostColumns);
  }
  if (window.ws_row > 1) size.rows = window.ws_row - 1U;
  return size;
}

/// What Slurm says of runs' jobs, asked now and then.
class Jobs {
 public:
  const std::vector<report::JobState>& states(const std::vector<RunRecord>& runs) {
    if (states_.size() == runs.size() && since_.elapsed() < kAskEvery) return states_;
    states_.assign(runs.size(), "");
    std::size_t asked = 0;
    for (std::size_t i = 0; i < runs.size(); ++i) {
      const report::Start* const start = runs[i].start();
      if (start == nullptr || start->job.empty() || runs[i].status() == Status::kComplete) continue;
      if (++asked > kMostJobs) break;
      states_[i] = ask(start->job);
      if (states_[i].empty()) break;  // squeue isn't there, or its controller doesn't answer
    }
    since_.lap();
    return states_;
  }

 private:
  /// "RUNNING, 3:12:01 left", "PENDING, Resources".
  static report::JobState ask(const std::string& job) {
    const std::string words = ask_squeue(job, "%T %L %r", kAnswer);
    const std::size_t first = words.find(' ');
    const std::size_t second = words.find(' ', first + 1);
    if (first == words.npos || second == words.npos) return words;
    const std::string state = words.substr(0, first);
    if (state != "PENDING") {
      return state + ", " + words.substr(first + 1, second - first - 1) + " left";
    }
    return state + ", " + words.substr(second + 1);
  }

  std::vector<report::JobState> states_;
  Stopwatch since_;
};

/// Lines that are written over each other, where they were.
class Picture {
 public:
  explicit Picture(bool is_terminal) : is_terminal_(is_terminal) {}

  void show(const std::vector<std::string>& lines) {
    std::string text;
    if (is_terminal_ && height_ > 0) text = fmt::format("\x1b[{}A\r", height_);
    for (const std::string& line : lines) text += line + (is_terminal_ ? "\x1b[K\n" : "\n");
    if (is_terminal_) text += "\x1b[J";
    put(stdout, text);
    height_ = lines.size();
  }

 private:
  bool is_terminal_;
  std::size_t height_ = 0;
};

/// The runs that are there now; of those that were there before, what was read of them.
std::vector<RunRecord> found_again(const WatchSettings& s, std::vector<RunRecord> before) {
  std::vector<RunRecord> runs = report::find_runs(s.runs);
  for (RunRecord& run : runs) {
    const auto known = std::ranges::find(before, run.directory(), &RunRecord::directory);
    if (known != before.end() && known->name() == run.name()) run = std::move(*known);
  }
  return runs;
}

/// Waits so long, or until somebody interrupts. Returns whether to go on.
bool wait(double seconds, const Interrupt& interrupt) {
  const Stopwatch clock;
  while (!interrupt.came() && clock.elapsed() < seconds) {
    const double left = std::min(kLook, seconds - clock.elapsed());
    ::poll(nullptr, 0, static_cast<int>(std::ceil(1000 * std::max(0.0, left))));
  }
  return !interrupt.came();
}

}  // namespace

void declare_watch_options(CLI::App& app, WatchSettings& s) {
  add_paths(app, "run", s.runs, "DIR of a run, or of several, such as a sweep");
  const Format<double> duration{
      .values = "TIME",
      .read =
          [](const std::string& text) {
            const auto seconds = read_duration(text);
            if (!seconds || *seconds < kLeastEvery || *seconds > kMostEvery) {
              fail("give a time from 1s to 1h");
            }
            return *seconds;
          },
      .write = write_duration};
  add_option(app, "--every", s.every, duration, "time between two looks");
}

void watch_command(const WatchSettings& settings, ranks::ProcessGroup& process_group) {
  ranks::in_agreement(process_group, [&] {
    if (process_group.rank() != 0) return;
    const Interrupt interrupt;
    const bool is_terminal = ::isatty(STDOUT_FILENO) != 0;
    // Where a directory of runs is meant, more may come.
    const bool may_grow = !std::ranges::all_of(settings.runs, report::is_run);
    std::vector<RunRecord> runs;
    Jobs jobs;
    Picture picture(is_terminal);
    do {
      const std::time_t now = std::time(nullptr);
      runs = found_again(settings, std::move(runs));
      for (RunRecord& run : runs) run.refresh(now);
      const report::ScreenSize size = screen_size(is_terminal);
      const auto& states = jobs.states(runs);
      picture.show(runs.size() == 1 ? run_screen(runs.front(), states.front(), now, size)
                                    : runs_screen(runs, states, now, size));
      const bool all_complete = std::ranges::all_of(
          runs, [](const RunRecord& run) { return run.status() == Status::kComplete; });
      if (!is_terminal || (all_complete && !may_grow)) return;
    } while (wait(settings.every, interrupt));
  });
}

}  // namespace cllm::cli
