#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cllm/ranks/process_group.h"

namespace cllm::ranks {

/// Where a rank runs, with how many threads, and what it computes with.
struct Site {
  std::string host;
  std::vector<int> processors;  ///< that its affinity mask allows
  int threads = 0;              ///< 0 where none were asked for
  std::string model = {};       ///< of the host's processors
  std::string kernels = {};     ///< the name of their implementation
  std::string products = {};    ///< what decides the bits of matrix products
  std::uint64_t memory = 0;     ///< bytes that the ranks of the host may use together
  /// How many processors' time the host's ranks may use together; 0 for no limit.
  double quota = 0;
  /// Processors that host, control group and launcher would let it have, were its mask as wide.
  std::vector<int> permitted = {};
  bool is_bound_by_default = false;  ///< the launcher chose the mask, and nobody asked for it
  std::size_t bound_to = 0;          ///< processors of that mask, where it was widened; else 0
  std::string remedy = {};           ///< what starts it with a wider mask: "mpirun --bind-to none"
};

/// Note [Binding]: Open MPI binds each rank to one core where there are one or two of them, as
/// suits programs of one thread. Where nobody asked for that, and processors that ranks could have
/// belong to none, the ranks of that host share them out: whole cores, in order, so that a socket's
/// stay together. A mask that somebody asked for is left alone.
///
/// The processors that `rank` should have, of `cores`, those permitted on its host as `cores_of`
/// gives them; empty where it is to keep what it has. Of ranks that agree on `sites`, no two have
/// the same but where there are more ranks than cores.
std::vector<int> fair_share(const std::vector<Site>& sites, std::size_t rank,
                            const std::vector<std::vector<int>>& cores);

/// That of this process, with `threads` as they were asked for.
Site this_site(int threads, const std::string& kernels, const std::string& products);

/// The threads of each rank: those asked for, else its processors, shared evenly with the other
/// ranks of its host that may run on them, and no more than its part of the host's quota; at least
/// one.
std::vector<int> threads_of(const std::vector<Site>& sites);

/// What is likely to make a run slow: more threads than processors in a rank's affinity mask, or in
/// those of ranks that share some. One sentence each, the same on every rank.
std::vector<std::string> placement_warnings(const std::vector<Site>& sites);

/// What limits the processors of ranks, and what was done about it: masks that were widened, masks
/// that leave processors idle, quotas. One sentence each, the same on every rank.
std::vector<std::string> placement_notes(const std::vector<Site>& sites);

/// Note [Mixed processors]: products of our own have the same bits on all processors, but OpenBLAS
/// has other kernels for other processors, which round differently. With it ranks sum the same
/// integers, and keep the same weights; but these depend on which rank computed which micro-batch,
/// so that --reduce exact gives the same bits on the same hosts alone.
/// Implementations of our own kernels also take the optimizer's step, which all ranks must take
/// alike.
///
/// Throws Error where ranks compute with different implementations.
void require_same_kernels(const std::vector<Site>& sites);

/// What Note [Mixed processors] means for these sites, in a sentence; empty where all are alike.
std::string mixture_warning(const std::vector<Site>& sites);

/// A table of hosts, those that are alike in one line: ranks, threads, processors, memory.
std::vector<std::string> site_table(const std::vector<Site>& sites);

/// How many ranks share the host of `rank`, itself one of them.
std::uint64_t ranks_beside(const std::vector<Site>& sites, int rank);

/// The sites of all ranks, in their order, with threads filled in. All ranks call it alike.
std::vector<Site> gather_sites(Site mine, ProcessGroup& process_group);

}  // namespace cllm::ranks
