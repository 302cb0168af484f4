#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cllm/ranks/heartbeat.h"

namespace cllm::ranks {

// Note [Watchdog]
// MPI waits for ever for a rank that will not come. So every rank has a thread (mpi::Peers) that
// once a second tells what its process is doing, whatever the other threads do: ranks tell rank 0,
// and rank 0 tells all. From that each Watchdog judges:
//
// - Silence. A rank of which nothing was heard for the limit is stopped or dead, or cut off. Rank 0
//   watches all others, and they watch rank 0.
// - Standstill. All ranks are in an exchange and in none of them data moved for several times the
//   limit: the network loses messages between two of them, or the program has a bug. Where some
//   have left in order and the others are in an exchange, which then never ends, the limit itself
//   after the last left is enough. Rank 0 sees both, also when it is the one that left.
//
// Nothing else ends a job. A rank that lives and is not in an exchange is at work, be it for hours:
// it prepares data, say, or its disk is slow. While others wait long for it, rank 0 says so.
//
// The limit follows from Patience and the longest step seen. Its least is far above the 9 s after
// which Open MPI's keep-alive (docs/faults.md) finds a dead link, so that links which are down for
// some seconds do no harm.
//
// Time is that which the watchdog itself sees: a look counts for two seconds at most. A job that is
// suspended and continued, or a host that has no time for its threads, so only moves the deadline.

/// Judges whether the ranks that one rank hears of are still there. One thread at a time.
class Watchdog {
 public:
  /// `hosts`: of each rank. All ranks count as heard of at the first look.
  Watchdog(int rank, std::vector<std::string> hosts);

  /// Whether this rank hears of that one.
  bool watches(int rank) const { return rank != rank_ && (rank_ == 0 || rank == 0); }

  /// What a rank tells arrived.
  void heard(int rank, const Beat& beat);

  /// Whether all ranks that it watches are at their end.
  bool all_left() const;

  /// Once a second or more often. `seconds`: any clock that doesn't go backwards. Returns the
  /// sentence to end the job with, where there is a fault.
  std::optional<std::string> look(double seconds, const Beat& mine, Patience patience);

  /// After a look: the sentence to say where rank 0 waits long for a rank that is at work. Each
  /// wait is said once.
  std::optional<std::string> note();

 private:
  struct Rank {
    std::string host;
    Beat beat = {};
    double heard = 0;       ///< when something was
    double progressed = 0;  ///< when its progress last changed
  };

  void update(Rank& rank, const Beat& beat);
  std::string name(std::size_t rank) const;
  std::optional<std::string> silence() const;
  std::optional<std::string> standstill() const;

  std::size_t me() const { return static_cast<std::size_t>(rank_); }

  int rank_;
  std::vector<Rank> ranks_;
  std::optional<double> last_look_;  // by the clock given
  double now_ = 0;                   // by the watchdog's own, which all other times are of
  double last_left_ = 0;             // when a rank did
  double step_began_ = 0, longest_step_ = 0;
  double limit_ = 0;
  std::uint64_t noted_ = 0;  // this rank's progress when it last was
};

}  // namespace cllm::ranks
