#pragma once

#include <mpi.h>

#include <cstddef>
#include <limits>
#include <span>
#include <vector>

#include "cllm/ranks/process_group.h"

namespace cllm::mpi {

/// Gives all ranks of a communicator the parts of an array that each has, in place. The thread that
/// calls sleeps while others' parts are under way. All ranks make and use it alike; one thread at a
/// time. Nothing of ours is allocated after construction.
class AllGather {
 public:
  /// `longest`: elements of a part that go at once. `furthest`: the furthest apart that parts may
  /// lie to go in one call, because MPI counts elements in int; beyond, ranks take turns.
  explicit AllGather(MPI_Comm communicator, std::size_t longest = std::size_t{1} << 22,
                     std::size_t furthest = std::numeric_limits<int>::max());

  /// `parts`: of each rank; the same on all. Throws Error when communication fails.
  void run(std::span<float> values, std::span<const ranks::Part> parts);

 private:
  void in_turns(std::span<float> values, std::span<const ranks::Part> parts);

  MPI_Comm communicator_;
  std::size_t longest_, furthest_;
  std::vector<int> counts_, offsets_;  // per rank
};

}  // namespace cllm::mpi
