#pragma once

#include <cstddef>

namespace cllm::collectives {

/// How messages are cut, queued and waited for. The defaults are the best that
/// tests/mpi/allreduce_bench.cc measured, in shared memory and over TCP at 100 Mbit/s and more.
struct Tuning {
  /// Of one message; a multiple of 4. Below the eager limit of Open MPI's TCP (64 KiB with its
  /// header): a longer one waits for a handshake that queues behind the data the other way, which
  /// makes a pair of ranks half-duplex.
  std::size_t segment_bytes = std::size_t{60} << 10;
  std::size_t in_flight = 16;            ///< messages under way in each direction; at least 1
  int shortest_sleep_microseconds = 50;  ///< while a fast link brings much between polls
  int longest_sleep_microseconds = 500;  ///< while a slow one brings little
  /// The longest piece that goes through shared memory at a time; a multiple of 4. Shorter where a
  /// host has many ranks, so that no rank takes up more than kMostSharedBytes.
  std::size_t piece_bytes = std::size_t{64} << 10;
  std::size_t slots = 8;  ///< pieces under way from one rank to another; at least 1
  /// At most so many lanes of a host; 0: as many as the host with the fewest ranks allows.
  std::size_t most_lanes = 0;
};

}  // namespace cllm::collectives
