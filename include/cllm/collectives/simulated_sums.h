#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <tuple>
#include <vector>

#include "cllm/base/aligned_buffer.h"
#include "cllm/collectives/cost_model.h"
#include "cllm/collectives/costs.h"
#include "cllm/collectives/hosts.h"
#include "cllm/collectives/schedule.h"
#include "cllm/collectives/tuning.h"
#include "cllm/collectives/virtual_ranks.h"

namespace cllm::collectives {

/// What sums over many hosts take, on a virtual clock that runs the code itself. All ranks begin at
/// the same time. What was asked before is known. One thread at a time.
class SimulatedSums {
 public:
  /// What it takes.
  struct Time {
    double seconds = 0;  ///< until the last rank has all of it
    double busy = 0;     ///< of the busiest rank's thread
    double bytes = 0;    ///< that a rank sends to other hosts, the mean of all
  };

  /// As many ranks on each host, those of a host in a row.
  SimulatedSums(std::size_t hosts, std::size_t ranks_per_host, const Costs& costs,
                const Tuning& tuning = {});

  const Hosts& hosts() const { return hosts_; }
  const Cluster& cluster() const { return cluster_; }
  /// Of the buffers of a rank, and its share of the memory that a host's ranks share.
  std::size_t bytes_per_rank() const;

  /// A sum of an array of so many bytes, or half of one, each rank's part as long: Note [One host
  /// for all]. Where the array doesn't divide by the ranks it is simulated a few bytes longer.
  Time even(Collective what, std::size_t bytes, Pattern pattern);
  /// An all-gather of floats whose parts, one for each rank, are of any sizes: all hosts are
  /// simulated, which takes longer.
  Time all_gather(std::span<const ranks::Part> parts, Pattern pattern);

 private:
  Time run(Simulated simulated, Collective what, std::size_t elements,
           std::span<const ranks::Part> parts, Pattern pattern);

  Hosts hosts_;
  Costs costs_;
  Tuning tuning_;
  Cluster cluster_;
  AlignedBuffer<float> untouched_;
  std::map<std::tuple<Collective, std::size_t, Pattern>, Time> known_;
};

}  // namespace cllm::collectives
