#include "cllm/cli/run/completion.h"

#include <fmt/format.h>

#include <span>
#include <system_error>

#include "cllm/base/error.h"
#include "cllm/base/file.h"
#include "cllm/cli/run/checkpoints.h"
#include "cllm/io/run_directory.h"
#include "cllm/train/metrics.h"

namespace cllm::cli {
namespace {

namespace fs = std::filesystem;

}  // namespace

void mark_complete(const fs::path& directory, const train::Goal& goal,
                   const train::StateValues& state) {
  std::string line = fmt::format("{} steps", state.step);
  if (state.step < goal.steps) {
    line += fmt::format(" of {}: {}; best: {}", goal.steps, train::reason_complete(goal, state),
                        best_text(directory, state));
  }
  line += '\n';
  write_atomically(directory / io::kCompleteName, std::as_bytes(std::span(line)));
}

void unmark_complete(const fs::path& directory) {
  std::error_code code;
  fs::remove(directory / io::kCompleteName, code);
  if (code) fail("cannot remove {}: {}", (directory / io::kCompleteName).string(), code.message());
}

void tidy_up(const fs::path& directory, const StartingPoint& start, const train::Goal& goal,
             const train::StateValues& state) {
  const auto newest = io::find_newest_checkpoint(directory);
  if (!newest || !fs::equivalent(*newest, start.checkpoint)) return;
  remove_unfinished(directory);
  io::set_newest_checkpoint(*newest);
  const train::MetricsLog whole_lines(directory / io::kMetricsName, state.step);
  mark_complete(directory, goal, state);
}

std::string nothing_to_do(const train::Goal& goal, const train::StateValues& state) {
  if (state.step >= goal.steps) {
    return fmt::format("nothing to do: {} steps are taken; give more --steps or --epochs to go on",
                       state.step);
  }
  return fmt::format(
      "nothing to do: the run is complete after step {} of {}, because {}; to go on, give another "
      "--target-loss or --patience, or 0 for none",
      state.step, goal.steps, train::reason_complete(goal, state));
}

fs::path best_checkpoint(const fs::path& directory, const train::StateValues& state) {
  if (!state.best) return {};
  const fs::path path = directory / io::checkpoint_name(state.best->step);
  std::error_code unknown;
  return fs::exists(path, unknown) ? path : fs::path();
}

std::string best_text(const fs::path& directory, const train::StateValues& state) {
  if (!state.best) return {};
  const fs::path path = best_checkpoint(directory, state);
  return fmt::format("validation loss {:.4f} at step {}: {}", state.best->loss, state.best->step,
                     path.empty() ? "its checkpoint is not there" : path.string());
}

}  // namespace cllm::cli
