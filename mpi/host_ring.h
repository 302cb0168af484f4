#pragma once

#include <mpi.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "cllm/mpi/communicator.h"
#include "cllm/mpi/pace.h"
#include "cllm/mpi/parts.h"
#include "cllm/mpi/ring.h"
#include "cllm/mpi/shared_memory.h"

namespace cllm::mpi {

/// How a HostRing cuts, queues and waits. The defaults are the best that
/// tests/mpi/allreduce_bench.cc measured.
struct HostRingTuning {
  RingTuning ring;
  /// The longest piece that goes through shared memory at a time; a multiple of 4. Shorter where a
  /// host has many ranks, so that no rank takes up more than kMostSharedBytes.
  std::size_t piece_bytes = std::size_t{64} << 10;
  int slots = 8;  ///< pieces under way from one rank to another; at least 1
  int most_lanes =
      0;  ///< at most so many lanes; 0: as many as the host with the fewest ranks allows
};

/// Sums arrays over all ranks of a communicator by hosts: the ranks of a host add up in shared
/// memory, and only their sum goes over the network, so a link carries each element once each way
/// however many ranks a host has.
///
/// The array falls into lanes of one length. On each host a rank owns a lane: it takes what the
/// host's other ranks have for it, forms a Ring with the owners of that lane on the other hosts,
/// and hands the result back. All of it goes piece by piece at the same time, so that the network
/// never waits for memory; and the thread that calls sleeps while there is nothing to do. There are
/// as many lanes as the host with the fewest ranks has ranks; on larger hosts the other ranks own
/// none.
///
/// What the result's bits depend on: the addends, how many hosts there are, in the order of their
/// lowest ranks, and how many ranks each has. In lane l a host adds in the order of its ranks l,
/// l+1, …, 0, …, l-1; and hosts are added in the order of Ring.
///
/// All ranks make, use and destroy it alike; one thread at a time. Nothing is allocated after
/// construction. After an Error the job can only be aborted.
class HostRing {
 public:
  /// The most shared memory of one rank that construction asks for, if pieces needn't be shorter
  /// than a page for it.
  static constexpr std::size_t kMostSharedBytes = std::size_t{4} << 20;

  /// Sums among the ranks of `communicator`; `beside` has those of them that share this one's host,
  /// in the same order. Throws Error, on all ranks of a host alike, where they can't share memory.
  HostRing(MPI_Comm communicator, MPI_Comm beside, HostRingTuning tuning = {});
  HostRing(const HostRing&) = delete;
  HostRing& operator=(const HostRing&) = delete;

  /// In place: the sum over all ranks, the same bits on each. Any number of elements, but the same
  /// on all ranks. Throws Error when communication fails.
  void all_reduce(std::span<float> values);
  /// Wraps modulo 2^32.
  void all_reduce(std::span<std::int32_t> values);

  int hosts() const { return hosts_; }
  int lanes() const { return static_cast<int>(lanes_); }
  /// Of its buffers, and of this rank's share of the memory that the host's ranks share.
  std::size_t bytes() const;

 private:
  template <typename T>
  class Pass;
  class Boxes;

  HostRingTuning tuning_;
  Pace pace_;
  int hosts_ = 1;
  int host_ = 0;       ///< this one's place among them
  std::size_t ranks_;  ///< on this host
  std::size_t mine_;   ///< this one's number among them: its lane, where there are so many
  std::size_t lanes_ = 1;
  std::size_t piece_bytes_ = 0;
  std::optional<Ring> ring_;  ///< of this rank's lane, where it has one and there are other hosts
  std::optional<SharedMemory> memory_;
  std::vector<std::uint64_t> given_, got_;   ///< pieces so far, to and from each lane
  std::uint64_t taken_ = 0, published_ = 0;  ///< pieces so far of this rank's own lane
  std::vector<PartWalk> to_give_, to_get_;   ///< in the sum under way, for each lane
};

}  // namespace cllm::mpi
