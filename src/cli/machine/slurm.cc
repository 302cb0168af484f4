#include "cllm/cli/machine/slurm.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string_view>

namespace cllm::cli {
namespace {

bool is_digits(std::string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789") == text.npos;
}

/// A number, or two with '_' between them: nothing that a shell would take for more.
bool is_job(std::string_view text) {
  const std::size_t mid = std::min(text.find('_'), text.size());
  return is_digits(text.substr(0, mid)) && (mid == text.size() || is_digits(text.substr(mid + 1)));
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

}  // namespace

// An array's task has its number behind that of the array: the last task's own number is the
// array's too, and would mean all of them.
std::string slurm_job() {
  const auto number = [](const char* variable) -> std::string {
    const char* const text = std::getenv(variable);
    return text != nullptr && is_digits(text) ? text : "";
  };
  const std::string array = number("SLURM_ARRAY_JOB_ID");
  const std::string task = number("SLURM_ARRAY_TASK_ID");
  return array.empty() || task.empty() ? number("SLURM_JOB_ID") : array + '_' + task;
}

std::string ask_squeue(const std::string& job, const std::string& format, int seconds) {
  if (!is_job(job)) return {};
  return first_line(
      fmt::format("timeout {} squeue -h -j {} -o '{}' 2>/dev/null", seconds, job, format));
}

}  // namespace cllm::cli
