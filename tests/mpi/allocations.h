#pragma once

#include <atomic>

namespace cllm::mpi {

/// What our own code has allocated in this process; MPI's is C, and comes by malloc.
extern std::atomic<long> allocations;

}  // namespace cllm::mpi
