#pragma once

#include <cstddef>
#include <string>

#include "cllm/collectives/costs.h"
#include "cllm/collectives/schedule.h"
#include "cllm/collectives/tuning.h"

namespace cllm::collectives {

/// Who sums: hosts, as many ranks on each, and the lanes that these own (Note [Lanes]).
struct Cluster {
  std::size_t hosts = 1, ranks = 1, lanes = 1;
};

/// Seconds that a sum of `bytes` over the cluster takes at these costs, by hosts. After Thakur,
/// Rabenseifner and Gropp (IJHPCA 19, 2005), with what pipelining hides taken away: in a ring a
/// round costs the latency or the bytes, whichever takes longer, because segments of the next round
/// travel while this one's do; in halving both, because each round waits for the one before.
double seconds_of(Pattern pattern, const Cluster& cluster, std::size_t bytes, const Costs& costs,
                  const Tuning& tuning = {});

/// Below so many bytes halving takes less than the ring, by seconds_of; 0 where it never does.
std::size_t halving_below(const Cluster& cluster, const Costs& costs, const Tuning& tuning = {});

/// Bytes from which on latency is at most a fifth of a sum that goes the better way: what buckets
/// should have, if they can.
std::size_t worthwhile_bytes(const Cluster& cluster, const Costs& costs, const Tuning& tuning = {});

/// Which sums go which way, as all ranks decide alike from the same costs.
struct Choice {
  std::size_t halving_below = 0;     ///< bytes
  std::size_t worthwhile_bytes = 0;  ///< as the function of that name

  Pattern pattern(std::size_t bytes) const {
    return bytes < halving_below ? Pattern::kHalving : Pattern::kRing;
  }
};
Choice choose(const Cluster& cluster, const Costs& costs, const Tuning& tuning = {});

/// A choice and what it follows from, in a line for people.
std::string text_of(const Choice& choice, const Cluster& cluster, const Costs& costs);

}  // namespace cllm::collectives
