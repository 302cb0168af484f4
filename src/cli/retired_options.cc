#include "cllm/cli/retired_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "cllm/cli/arguments.h"

namespace cllm::cli {
namespace {

constexpr RetiredOption kRetired[] = {
    {"row-order", "token",
     "it laid the embedding's rows in another order, in a copy that each step made, which changed "
     "no result and measured as no gain"},
};

}  // namespace

std::vector<std::string> retired_in(const std::string& configuration) {
  std::vector<std::string> lines;
  for (const RetiredOption& retired : kRetired) {
    const std::string was = value_in_toml(configuration, retired.name);
    if (was.empty() || was == retired.usual) continue;
    lines.push_back(
        fmt::format("--{} was {}; it is no longer an option: {}", retired.name, was, retired.why));
  }
  return lines;
}

const RetiredOption* find_retired(std::string_view name) {
  const auto* const found = std::ranges::find(kRetired, name, &RetiredOption::name);
  return found == std::end(kRetired) ? nullptr : found;
}

}  // namespace cllm::cli
