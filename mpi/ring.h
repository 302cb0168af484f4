#pragma once

#include <mpi.h>

#include <compare>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "cllm/base/aligned_buffer.h"
#include "cllm/mpi/communicator.h"
#include "cllm/mpi/pace.h"
#include "cllm/mpi/parts.h"

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

  /// In place: the sum over all ranks, the same bits on each. Any number of elements, but the same
  /// on all ranks. Throws Error when communication fails.
  void all_reduce(std::span<float> values);
  /// Wraps modulo 2^32.
  void all_reduce(std::span<std::int32_t> values);

  /// One sum under way.
  template <typename T>
  class Pass;

  int rank() const { return rank_; }
  int size() const { return size_; }
  /// Of its buffers.
  std::size_t bytes() const { return arrivals_.size(); }

 private:
  template <typename T>
  void sum_all(std::span<T> values);

  RingTuning tuning_;
  Pace pace_;
  Communicator communicator_;
  int rank_;
  int size_;
  std::vector<MPI_Request> sends_, receives_;  ///< in_flight each, used in turn
  AlignedBuffer<std::byte> arrivals_;          ///< a segment for each receive
};

/// One sum, for a caller that does other things between its steps and whose array may become known,
/// and be wanted, piece by piece. T is float or std::uint32_t. The ring and the array must outlive
/// it, and it must be driven to its end.
///
/// In step t of 0 … 2(size-1)-1 a rank sends part (rank - t) and receives part (rank - t - 1). In
/// the first size-1 steps what arrives is added to what is here; after them rank has the whole sum
/// of part (rank + 1), and the other steps hand the sums round. What is sent in a step is what was
/// received in the step before, so segments follow each other through both halves without a pause.
template <typename T>
class Ring::Pass {
 public:
  Pass(Ring& ring, std::span<T> values);

  /// Does what can be done without waiting. `offered`: how many elements hold this rank's addend by
  /// now, in the order of a PartWalk from part `rank`; the others may still be written.
  /// Returns whether it did anything.
  bool advance(std::size_t offered);
  bool is_complete() const { return to_absorb_.step >= steps() && to_complete_.step >= steps(); }
  /// How many elements hold the sum, in the order of a PartWalk from part `rank` + 1. They may be
  /// read, and nothing may be written before the end.
  std::size_t summed() const;
  /// Segments that have arrived.
  std::size_t arrived() const { return absorbed_; }

 private:
  /// Where a rank stands in the stream of segments that it sends, or receives: the step round the
  /// ring, and the first element of the segment in that step's part of the array.
  struct Position {
    int step = 0;
    std::size_t offset = 0;
    auto operator<=>(const Position&) const = default;
  };
  /// Of a step, the part that is sent or received is this many before the rank's own.
  enum Direction { kSend = 0, kReceive = 1 };

  int additions() const { return ring_.size_ - 1; }
  int steps() const { return 2 * additions(); }
  bool adds(Position position) const { return position.step < additions(); }
  std::size_t part(Direction direction, int step) const;
  void skip_empty(Direction direction, Position& position) const;
  void proceed(Direction direction, Position& position) const;
  std::span<T> segment(Direction direction, Position position) const;
  T* arrival(std::size_t slot) const;
  std::size_t slot(std::size_t number) const { return number % ring_.receives_.size(); }

  bool post_receives();
  bool post_sends(std::size_t offered);
  bool absorb_arrival(std::size_t offered);
  bool complete_send();

  Ring& ring_;
  std::span<T> values_;
  Parts parts_;
  std::size_t segment_;  ///< elements
  // The next segment that each has to do with, and how many were before it.
  Position to_receive_, to_absorb_, to_send_, to_complete_;
  std::size_t receives_posted_ = 0, absorbed_ = 0, sends_posted_ = 0, completed_ = 0;
  std::size_t absorbed_elements_ = 0;
};

}  // namespace cllm::mpi
