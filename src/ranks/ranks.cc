#include "cllm/ranks/ranks.h"

#include <fmt/format.h>

#include <algorithm>

namespace cllm::ranks {
namespace {

/// Names of a list that are written out.
constexpr std::size_t kMostNames = 4;

}  // namespace

std::vector<std::size_t> unlike_rank_0(const std::vector<std::string>& values) {
  std::vector<std::size_t> ranks;
  for (std::size_t rank = 0; rank < values.size(); ++rank) {
    if (values[rank] != values.front()) ranks.push_back(rank);
  }
  return ranks;
}

std::string list_text(const std::vector<std::string>& names) {
  // "and 1 more" would be no shorter than the name.
  const bool all = names.size() <= kMostNames + 1;
  const std::size_t written = all ? names.size() : kMostNames;
  std::string text;
  for (std::size_t i = 0; i < written; ++i) {
    const bool is_last = all && i + 1 == names.size();
    text += i == 0 ? "" : is_last ? " and " : ", ";
    text += names[i];
  }
  return all ? text : fmt::format("{} and {} more", text, names.size() - written);
}

std::string ranks_text(const std::vector<std::size_t>& ranks,
                       const std::vector<std::string>& hosts) {
  std::vector<std::string> numbers, names;
  for (const std::size_t rank : ranks) {
    numbers.push_back(fmt::format("{}", rank));
    if (std::ranges::find(names, hosts[rank]) == names.end()) names.push_back(hosts[rank]);
  }
  return fmt::format("rank{} {} (host{} {})", numbers.size() == 1 ? "" : "s", list_text(numbers),
                     names.size() == 1 ? "" : "s", list_text(names));
}

}  // namespace cllm::ranks
