#include "cllm/cli/run/time_left.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <limits>
#include <memory>
#include <string>

namespace cllm::cli {
namespace {

constexpr double kUnlimited = std::numeric_limits<double>::infinity();

/// The whole of `text` as a number; -1 for any other text.
std::int64_t whole_number(std::string_view text) {
  std::uint32_t number = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (code != std::errc() || end != text.data() + text.size()) return -1;
  return number;
}

/// The first line that a shell command prints, without its end.
std::string first_line(const std::string& command) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> pipe(::popen(command.c_str(), "r"),
                                                             &::pclose);
  std::array<char, 256> line{};
  if (!pipe || std::fgets(line.data(), line.size(), pipe.get()) == nullptr) return {};
  const std::string_view text = line.data();
  return std::string(text.substr(0, text.find('\n')));
}

/// What squeue calls this job; empty outside of one. An array's task has its number behind that of
/// the array: the last task's own number is the array's too, and would mean all of them.
std::string this_job() {
  const auto number = [](const char* variable) -> std::string {
    const char* const text = std::getenv(variable);
    return text != nullptr && whole_number(text) >= 0 ? text : "";
  };
  const std::string array = number("SLURM_ARRAY_JOB_ID");
  const std::string task = number("SLURM_ARRAY_TASK_ID");
  return array.empty() || task.empty() ? number("SLURM_JOB_ID") : array + '_' + task;
}

}  // namespace

double parse_slurm_time(std::string_view text) {
  double days = 0;
  if (const std::size_t dash = text.find('-'); dash != text.npos) {
    const std::int64_t number = whole_number(text.substr(0, dash));
    if (number < 0) return kUnlimited;
    days = static_cast<double>(number);
    text.remove_prefix(dash + 1);
  }
  double seconds = 0;
  for (bool more = true; more;) {
    const std::size_t colon = text.find(':');
    more = colon != text.npos;
    const std::int64_t number = whole_number(text.substr(0, colon));
    if (number < 0) return kUnlimited;
    seconds = 60 * seconds + static_cast<double>(number);
    text.remove_prefix(more ? colon + 1 : 0);
  }
  return 86400 * days + seconds;
}

TimeLeft slurm_time_left() {
  if (const char* const end = std::getenv("SLURM_JOB_END_TIME")) {
    const std::int64_t time = whole_number(end);
    if (time > 0) return TimeLeft(static_cast<double>(time - std::time(nullptr)));
  }
  const std::string job = this_job();
  if (job.empty()) return {};
  return TimeLeft(
      parse_slurm_time(first_line(fmt::format("squeue -h -j {} -o %L 2>/dev/null", job))));
}

}  // namespace cllm::cli
