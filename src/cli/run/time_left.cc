#include "cllm/cli/run/time_left.h"

#include <charconv>
#include <cstdint>
#include <cstdlib>
#include <ctime>
#include <limits>

#include "cllm/cli/machine/slurm.h"

namespace cllm::cli {
namespace {

constexpr double kUnlimited = std::numeric_limits<double>::infinity();

/// Seconds that a busy controller has to answer.
constexpr int kPatience = 20;

/// The whole of `text` as a number; -1 for any other text.
std::int64_t whole_number(std::string_view text) {
  std::uint32_t number = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (code != std::errc() || end != text.data() + text.size()) return -1;
  return number;
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
  return TimeLeft(parse_slurm_time(ask_squeue(slurm_job(), "%L", kPatience)));
}

}  // namespace cllm::cli
