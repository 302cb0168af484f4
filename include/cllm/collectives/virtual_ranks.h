#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "cllm/base/aligned_buffer.h"
#include "cllm/collectives/operation.h"
#include "cllm/collectives/virtual_network.h"

namespace cllm::collectives {

/// Ranks on a virtual network, with the memory that those of a host share, and what sums them up.
class VirtualRanks {
 public:
  VirtualRanks(const Hosts& hosts, const Costs& costs, const Tuning& tuning,
               Simulated what = Simulated::kAll)
      : network_(hosts, costs, tuning.in_flight, what), memory_(hosts.count()) {
    ranks_.resize(hosts.all_ranks());
    for (const int rank : network_.ranks()) {
      AlignedBuffer<std::byte>& memory = memory_[hosts.host_of(rank)];
      if (hosts.most_ranks() > 1 && memory.size() == 0) {
        memory =
            AlignedBuffer<std::byte>(Collectives::shared_bytes(hosts, hosts.host_of(rank), tuning));
      }
      ranks_[static_cast<std::size_t>(rank)] =
          std::make_unique<Collectives>(network_.transport(rank), hosts, memory.data(), tuning);
    }
  }

  int size() const { return static_cast<int>(ranks_.size()); }
  VirtualNetwork& network() { return network_; }
  Collectives& rank(int rank) { return *ranks_[static_cast<std::size_t>(rank)]; }

  /// All that are simulated do it at once, each rank with its array. Returns the virtual time at
  /// the end.
  template <typename T>
  double run(Collective what, std::span<const std::span<T>> values,
             std::span<const ranks::Part> parts, Method method) {
    std::vector<std::unique_ptr<Collectives::Operation<T>>> operations(ranks_.size());
    for (const int rank : network_.ranks()) {
      const auto r = static_cast<std::size_t>(rank);
      operations[r] =
          std::make_unique<Collectives::Operation<T>>(*ranks_[r], what, values[r], parts, method);
    }
    return network_.run(
        [&](int r) { return operations[static_cast<std::size_t>(r)]->advance(); },
        [&](int r) { return operations[static_cast<std::size_t>(r)]->is_complete(); });
  }

 private:
  VirtualNetwork network_;
  std::vector<AlignedBuffer<std::byte>> memory_;     ///< of hosts
  std::vector<std::unique_ptr<Collectives>> ranks_;  ///< none of those that aren't simulated
};

}  // namespace cllm::collectives
