#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "cllm/base/aligned_buffer.h"
#include "cllm/collectives/operation.h"
#include "cllm/collectives/virtual_network.h"

namespace cllm::collectives {

/// Ranks on a virtual network, with the memory that those of a host share.
class VirtualRanks {
 public:
  VirtualRanks(const Hosts& hosts, const Costs& costs, const Tuning& tuning,
               bool has_content = true)
      : hosts_(hosts), network_(hosts, costs, tuning.in_flight, has_content) {
    const bool are_alone = hosts.most_ranks() == 1;
    for (std::size_t host = 0; host < hosts.count() && !are_alone; ++host) {
      memory_.emplace_back(Collectives::shared_bytes(hosts, host, tuning));
      memory_.back().fill(std::byte{0});
    }
    for (int rank = 0; rank < size(); ++rank) {
      ranks_.push_back(std::make_unique<Collectives>(
          network_.transport(rank), hosts,
          are_alone ? nullptr : memory_[hosts.host_of(rank)].data(), tuning));
    }
  }

  int size() const { return static_cast<int>(hosts_.all_ranks()); }
  VirtualNetwork& network() { return network_; }
  Collectives& rank(int rank) { return *ranks_[static_cast<std::size_t>(rank)]; }

  /// All ranks do it at once, each with its array. Returns the virtual time at the end.
  template <typename T>
  double run(Collective what, std::span<const std::span<T>> values,
             std::span<const ranks::Part> parts, Method method) {
    std::vector<std::unique_ptr<Collectives::Operation<T>>> operations;
    for (std::size_t rank = 0; rank < ranks_.size(); ++rank) {
      operations.push_back(std::make_unique<Collectives::Operation<T>>(
          *ranks_[rank], what, values[rank], parts, method));
    }
    return network_.run(
        [&](int r) { return operations[static_cast<std::size_t>(r)]->advance(); },
        [&](int r) { return operations[static_cast<std::size_t>(r)]->is_complete(); });
  }

 private:
  Hosts hosts_;
  VirtualNetwork network_;
  std::vector<AlignedBuffer<std::byte>> memory_;
  std::vector<std::unique_ptr<Collectives>> ranks_;
};

}  // namespace cllm::collectives
