#pragma once

#include <mpi.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "cllm/base/slab.h"

namespace cllm::mpi {

/// How a ring cuts, queues and waits. The defaults are the best that tests/mpi/allreduce_bench.cc
/// measured, in shared memory and over TCP at 100 Mbit/s and more.
struct RingTuning {
  /// Of one message; a multiple of 4. Below the eager limit of Open MPI's TCP (64 KiB with its
  /// header): a longer one waits for a handshake that queues behind the data the other way, which
  /// makes a pair of ranks half-duplex.
  std::size_t segment_bytes = std::size_t{60} << 10;
  int in_flight = 16;                    ///< messages under way in each direction; at least 1
  int shortest_sleep_microseconds = 50;  ///< while a fast link brings much between polls
  int longest_sleep_microseconds = 500;  ///< while a slow one brings little
};

/// Sums arrays over all ranks of a communicator in a segmented ring: each rank adds to what comes
/// from the rank before it and hands it on to the one after it. A sum travels segment by segment,
/// so all links are busy both ways all the time, and the thread that calls sleeps while there is
/// nothing to do: compute threads keep their processors.
///
/// What the result's bits depend on: the addends, and the number of ranks. The array falls into one
/// part per rank, and part p is added up in the order of ranks p, p+1, …, size-1, 0, …, p-1.
///
/// All ranks make, use and destroy it alike; one thread at a time. Nothing is allocated after
/// construction. After an Error the job can only be aborted.
class Ring {
 public:
  /// Sums among the ranks of `communicator`, on a duplicate of it.
  explicit Ring(MPI_Comm communicator, RingTuning tuning = {});
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;
  ~Ring();

  /// In place: the sum over all ranks, the same bits on each. Any number of elements, but the same
  /// on all ranks. Throws Error when communication fails.
  void sum(std::span<float> values);
  /// Wraps modulo 2^32.
  void sum(std::span<std::int32_t> values);

  /// Of its buffers.
  std::size_t bytes() const { return arrivals_.size(); }

 private:
  template <typename T>
  class Pass;

  void wait(std::size_t arrived);

  RingTuning tuning_;
  int sleep_microseconds_;
  MPI_Comm communicator_ = MPI_COMM_NULL;
  int rank_ = 0;
  int size_ = 1;
  std::vector<MPI_Request> sends_, receives_;  ///< in_flight each, used in turn
  Slab<std::byte> arrivals_;                   ///< a segment for each receive
};

}  // namespace cllm::mpi
