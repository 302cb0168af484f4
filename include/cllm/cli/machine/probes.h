#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "cllm/cli/machine/machine.h"
#include "cllm/ranks/process_group.h"

namespace cllm::cli {

// Short measurements of what a run depends on. All ranks call each alike, and get the same figures.
// They throw ReplicatedError, or Error where communication fails.

/// FLOP/s of matrix products on one host.
struct ProductRates {
  std::string host;
  double one = 0;   ///< of one thread while nothing else of this job computes
  double all = 0;   ///< of all threads of all its ranks, each with matrices of its own
  int threads = 0;  ///< those
};

/// Of each host, in the order of ranks.
std::vector<ProductRates> measure_products(const Machine& machine,
                                           ranks::ProcessGroup& process_group);

/// What a sum over all ranks of arrays of so many bytes takes by one method.
struct SumTime {
  std::size_t bytes;
  double seconds;  ///< median, of the slowest rank
};

/// From a few bytes, which show the latency, to some megabytes, which show the bandwidth; ends
/// earlier where one sum would take longer than a second. Leaves the method in use.
std::vector<SumTime> measure_sums(ranks::Allreduce method, ranks::ProcessGroup& process_group);

/// What writing into a directory takes, on rank 0.
struct DiskRate {
  double bytes_per_second = 0;  ///< of a file of some megabytes that is synced, and then removed
  double free_bytes = 0;
  std::string room = {};  ///< what is said where checkpoints have none; else empty
};

/// The largest of all ranks' seconds.
double slowest(double seconds, ranks::ProcessGroup& process_group);

/// `checkpoint`: bytes of one, of which there should be room for two.
DiskRate measure_disk(const std::filesystem::path& directory, std::uint64_t checkpoint,
                      ranks::ProcessGroup& process_group);

}  // namespace cllm::cli
