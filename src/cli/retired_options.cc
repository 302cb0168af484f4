#include "cllm/cli/retired_options.h"

#include <algorithm>
#include <iterator>

namespace cllm::cli {
namespace {

constexpr RetiredOption kRetired[] = {
    {"row-order", "token",
     "it laid the embedding's rows in another order, in a copy that each step made, which changed "
     "no result and measured as no gain"},
};

}  // namespace

std::span<const RetiredOption> retired_options() { return kRetired; }

const RetiredOption* find_retired(std::string_view name) {
  const auto* const found = std::ranges::find(kRetired, name, &RetiredOption::name);
  return found == std::end(kRetired) ? nullptr : found;
}

}  // namespace cllm::cli
