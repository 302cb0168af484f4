#include "cllm/train/progress.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <numbers>
#include <span>
#include <vector>

#include "cllm/base/output.h"

namespace cllm::train {
namespace {

/// Seconds between plain lines, and between repaints of the live one.
constexpr double kLineSeconds = 5.0;
constexpr double kRepaintSeconds = 0.1;

/// After so many steps, or fewer that took so long, the run's length is foretold.
constexpr std::uint64_t kFirstSteps = 5;
constexpr double kFirstSeconds = 30.0;

/// The first few, and how many more.
std::string names_text(const std::vector<std::string>& names) {
  constexpr std::size_t kMost = 4;
  const std::span shown = std::span(names).first(std::min(kMost, names.size()));
  std::string text = fmt::format("{}", fmt::join(shown, ", "));
  if (names.size() > kMost) text += fmt::format(" and {} more", names.size() - kMost);
  return text;
}

/// A live line that is longer than the terminal's would leave its beginning behind at each repaint.
std::size_t terminal_columns() {
  winsize size{};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 80;
  return size.ws_col;
}

}  // namespace

Progress::Progress(const Pace& pace, std::uint64_t step_tokens, double bytes_per_token, bool live)
    : pace_(pace), step_tokens_(step_tokens), bytes_per_token_(bytes_per_token), live_(live) {}

Progress::~Progress() {
  if (painted_) put(stdout, "\n");
}

std::string Progress::place(std::uint64_t state_step) const {
  return fmt::format("step {:>{}}/{}", state_step, std::to_string(pace_.steps()).size(),
                     pace_.steps());
}

std::string Progress::validation_text() const {
  if (!validation_) return {};
  return fmt::format("  val {:.4f}{}", *validation_,
                     trend_ ? fmt::format(" {:+.4f}", *trend_) : "");
}

void Progress::step(std::uint64_t state_step, const StepReport& r) {
  pace_.step(r.seconds());
  if (!r.overflowed.empty() && r.outcome != Outcome::kSkipped) {
    line(fmt::format(
        "step {}: the gradient sum of {} overflowed its fixed-point range, and the step "
        "was taken again with a wider one",
        state_step, names_text(r.overflowed)));
  }
  if (r.outcome == Outcome::kEmpty) {
    line(fmt::format("step {}: no target of the batch counts, and the weights are as before",
                     state_step));
  } else if (r.outcome != Outcome::kUpdated) {
    line(fmt::format("step {}: loss {:.4f}, gradient norm {:.4g}: {}", state_step, r.loss,
                     r.gradient_norm,
                     r.outcome == Outcome::kClipped
                         ? "far above the recent ones, so the gradient was scaled down"
                         : "the step was skipped, and the weights are as before"));
  }
  const double interval = live_ ? kRepaintSeconds : kLineSeconds;
  if (!first_ && state_step != pace_.steps() && since_line_.elapsed() < interval) return;
  first_ = false;
  since_line_.lap();
  // What matters most comes first: a narrow terminal cuts the rest off.
  const std::string text = fmt::format(
      "{}  loss {:.4f}{}  {} tokens/s  {} left  lr {:.2e}  norm {:.2f}", place(state_step), r.loss,
      validation_text(), count_text(static_cast<double>(step_tokens_) / pace_.step_seconds()),
      duration_text(pace_.seconds_left(state_step)), r.learning_rate, r.gradient_norm);
  if (live_) {
    put(stdout, "\r\x1b[K" + text.substr(0, terminal_columns() - 1));
    painted_ = true;
  } else {
    line(text);
  }
}

void Progress::foretell(std::uint64_t state_step, double start_left, double start) {
  if (is_foretold_ || state_step >= pace_.steps() || pace_.taken() < 2) return;
  if (pace_.taken() < kFirstSteps && since_start_.elapsed() < kFirstSeconds) return;
  is_foretold_ = true;
  line(forecast(pace_.seconds_left(state_step), pace_.steps() - state_step, start_left, start));
}

void Progress::evaluation(std::uint64_t state_step, const Evaluation& e) {
  pace_.evaluation(e.seconds);
  if (validation_) trend_ = e.loss - *validation_;
  validation_ = e.loss;
  std::string text = fmt::format("{}  validation loss {:.4f}  perplexity {:.6g}", place(state_step),
                                 e.loss, std::exp(e.loss));
  if (bytes_per_token_ > 0) {
    text += fmt::format("  {:.3f} bits/byte", e.loss / bytes_per_token_ / std::numbers::ln2);
  }
  line(text);
  for (const TextEvaluation& each : e.texts) {
    line(fmt::format("  of {}: validation loss {:.4f}", each.name, each.loss));
  }
}

void Progress::sample(std::uint64_t state_step, const TextSample& sample) {
  // In quotes, so that it stays one line, and a terminal takes nothing in it for a command.
  line(fmt::format("{}  sample {}", place(state_step),
                   nlohmann::json(sample.prompt + sample.text).dump()));
}

void Progress::checkpoint(const SavedCheckpoint& saved) {
  if (!saved.problem.empty()) {
    line(fmt::format("step {}: not saved: {}", saved.step, saved.problem));
    return;
  }
  const auto gigabytes = static_cast<double>(saved.bytes) / 1e9;
  std::string text = fmt::format(
      "step {}: saved {}, {:.3g} GB at {:.3g} GB/s, checked; training paused for {:.2g} s",
      saved.step, saved.path.filename().string(), gigabytes, gigabytes / saved.write_seconds,
      saved.pause_seconds);
  if (!saved.warning.empty()) text += "; but " + saved.warning;
  for (const auto& removed : saved.removed) {
    text += fmt::format("; removed {}", removed.filename().string());
  }
  line(text);
}

void Progress::line(const std::string& text) {
  painted_ = false;
  put(stdout, fmt::format("{}{}\n", live_ ? "\r\x1b[K" : "", text));
}

bool output_is_terminal() {
  if (::isatty(STDOUT_FILENO) == 0) return false;
  if (std::getenv("OMPI_COMM_WORLD_SIZE") == nullptr) return true;
  const std::string launchers_output = fmt::format("/proc/{}/fd/1", ::getppid());
  const int fd = ::open(launchers_output.c_str(), O_WRONLY | O_NOCTTY | O_CLOEXEC);
  if (fd < 0) return false;
  const bool terminal = ::isatty(fd) != 0;
  ::close(fd);
  return terminal;
}

}  // namespace cllm::train
