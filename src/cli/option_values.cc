#include "cllm/cli/option_values.h"

#include <algorithm>
#include <cmath>

namespace cllm::cli {

std::optional<double> read_duration(std::string_view text) {
  if (text.empty()) return std::nullopt;
  double seconds = 0;
  while (!text.empty()) {
    const std::size_t digits = std::min(text.find_first_not_of("0123456789"), text.size() - 1);
    const std::string_view unit = text.substr(digits, 1);
    const double factor = unit == "h" ? 3600 : unit == "m" ? 60 : unit == "s" ? 1 : 0;
    const auto count = read_number<std::uint64_t>(text.substr(0, digits));
    if (factor == 0 || !count) return std::nullopt;
    seconds += factor * static_cast<double>(*count);
    text.remove_prefix(digits + 1);
  }
  return seconds;
}

std::string write_duration(double seconds) {
  const auto whole = static_cast<std::uint64_t>(std::round(seconds));
  std::string text;
  if (whole >= 3600) text += fmt::format("{}h", whole / 3600);
  if (whole / 60 % 60 > 0) text += fmt::format("{}m", whole / 60 % 60);
  if (whole % 60 > 0 || whole == 0) text += fmt::format("{}s", whole % 60);
  return text;
}

std::string alternatives(const std::vector<std::string>& words) {
  std::string text;
  for (std::size_t i = 0; i < words.size(); ++i) {
    const char* between = i == 0 ? "" : i + 1 == words.size() ? " or " : ", ";
    text += between + words[i];
  }
  return text;
}

}  // namespace cllm::cli
