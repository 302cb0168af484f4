#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cllm/train/collective.h"

namespace cllm::train {

/// Where a rank runs, and with how many threads.
struct Site {
  std::string host;
  std::vector<int> processors;  ///< that its affinity mask allows
  int threads = 0;              ///< 0 where none were asked for
};

/// The threads of each rank: those asked for, else its processors, shared evenly with the other
/// ranks of its host that may run on them; at least one.
std::vector<int> threads_of(const std::vector<Site>& sites);

/// What is likely to make the run slow: more threads than processors on a host, or in a rank's
/// affinity mask. One sentence each, the same on every rank.
std::vector<std::string> placement_warnings(const std::vector<Site>& sites);

/// How to sum gradients while compute threads run: kMpi where all ranks share one host on which
/// each has a processor for the thread that sums beside those for its own threads; else kRing,
/// which costs less processor time everywhere and is faster on a network. Threads must be filled
/// in.
Allreduce allreduce_for(const std::vector<Site>& sites);

/// How many ranks share the host of `rank`, itself one of them.
std::uint64_t ranks_beside(const std::vector<Site>& sites, int rank);

/// The sites of all ranks, in their order, with threads filled in. All ranks call it alike.
std::vector<Site> gather_sites(Site mine, Collective& collective);

}  // namespace cllm::train
