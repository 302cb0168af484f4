#pragma once

#include <cstddef>

namespace cllm::collectives {

/// The ways in which ranks hand sums round.
enum class Pattern {
  /// N-1 rounds of one part each to the next rank. What is sent in a round is what was received in
  /// the round before, so that long parts follow each other without a pause.
  kRing,
  /// ⌈log2 N⌉ rounds, each of half of what is left, for any N.
  kHalving,
};

/// What to do: the whole, or one half of it.
enum class Collective { kAllReduce, kReduceScatter, kAllGather };

// Note [Schedules]
// An array falls into one part for each rank. In the first half of a sum (reduce-scatter) ranks
// send parts to be added, until rank r has the whole sum of part r; in the second (all-gather) they
// send sums. Either half costs each rank all parts but one, the least that is possible, both in the
// ring and in halving.
//
// Halving and doubling is, for powers of two, that of Rabenseifner (ICCS 2004) and Thakur,
// Rabenseifner and Gropp (IJHPCA 19, 2005), and for others without their surplus ranks, which have
// to be folded in first at the cost of a whole array: it goes round a circle, as Bruck's all-gather
// does (Träff, "Optimal, non-pipelined reduce-scatter and allreduce algorithms", arXiv 2410.14234).
// With s(k) = ⌈N / 2^k⌉, a rank sends in round k the parts of the ranks that are s(k+1) … s(k)-1
// ahead to the rank that is s(k+1) ahead, and what it receives is for the parts 0 … s(k)-s(k+1)-1
// ahead of itself. The second half goes the same way back.
//
// In which order floats are added: by the ring, part p in the order of ranks p+1, p+2, …, N-1, 0,
// …, p. By halving, in a tree that depends on N alone and is turned by p: rank r first has its own,
// and adds what comes in each round to that. All ranks get the same bits of each part, since one
// rank computes them.

/// Consecutive parts, round the circle of ranks.
struct Parts {
  int first = 0, count = 0;
};

/// What a rank does in one round.
struct Round {
  int to, from;
  Parts sent, received;
};

/// Who sends what to whom, in rounds: those of the first half, then those of the second. Data
/// alone; messages are Pass's.
class Schedule {
 public:
  /// For `rank` of `ranks`.
  Schedule(Pattern pattern, int rank, int ranks);

  int rank() const { return rank_; }
  int ranks() const { return ranks_; }
  /// Of one half.
  int half() const { return half_; }
  /// Of round 0 … 2·half()-1.
  Round round(int number) const;

  /// Whether what is sent in a round is what was received in the round before, in the same order;
  /// else all that was received before is needed for it.
  bool follows() const { return pattern_ == Pattern::kRing; }
  /// For a round of the second half: the round of the first in which the parts that are received
  /// now were sent.
  int sent_in(int number) const;

 private:
  int ahead(int distance) const { return (rank_ + distance + 2 * ranks_) % ranks_; }
  Round ring(int number) const;
  Round halving(int number) const;

  Pattern pattern_;
  int rank_, ranks_, half_;
};

}  // namespace cllm::collectives
