#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace cllm::collectives {

/// Which ranks are on which host: hosts in the order of their lowest ranks, and the ranks of each
/// ascending.
class Hosts {
 public:
  /// `host_of`: a number for each rank, the same for those that share a host.
  explicit Hosts(std::span<const int> host_of);
  /// Each rank on a host of its own.
  static Hosts alone(int ranks);

  std::size_t count() const { return ranks_.size(); }
  std::size_t all_ranks() const { return place_.size(); }
  const std::vector<int>& ranks_of(std::size_t host) const { return ranks_[host]; }
  std::size_t host_of(int rank) const { return place_[static_cast<std::size_t>(rank)].host; }
  /// The rank's number on its host.
  std::size_t number_of(int rank) const { return place_[static_cast<std::size_t>(rank)].number; }
  std::size_t fewest_ranks() const { return fewest_; }
  std::size_t most_ranks() const { return most_; }

 private:
  struct Place {
    std::size_t host, number;
  };
  std::vector<std::vector<int>> ranks_;
  std::vector<Place> place_;
  std::size_t fewest_, most_;  ///< ranks of a host
};

}  // namespace cllm::collectives
