#include "cllm/collectives/hosts.h"

#include <algorithm>
#include <map>
#include <numeric>

namespace cllm::collectives {

Hosts::Hosts(std::span<const int> host_of) {
  std::map<int, std::size_t> known;
  for (std::size_t rank = 0; rank < host_of.size(); ++rank) {
    const std::size_t host = known.try_emplace(host_of[rank], known.size()).first->second;
    if (host == ranks_.size()) ranks_.emplace_back();
    place_.push_back({host, ranks_[host].size()});
    ranks_[host].push_back(static_cast<int>(rank));
  }
  const auto [fewest, most] = std::ranges::minmax_element(ranks_, {}, &std::vector<int>::size);
  fewest_ = fewest->size();
  most_ = most->size();
}

Hosts Hosts::alone(int ranks) {
  std::vector<int> numbers(static_cast<std::size_t>(ranks));
  std::iota(numbers.begin(), numbers.end(), 0);
  return Hosts(numbers);
}

}  // namespace cllm::collectives
