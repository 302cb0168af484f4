#include "cllm/mpi/host_ring.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "cllm/mpi/checked.h"
#include "cllm/ranks/heartbeat.h"

namespace cllm::mpi {

/// The shared memory of a host, as its ranks see it: a box for each lane and rank, which holds the
/// pieces under way from one to the other. From a rank that doesn't own the lane they are its
/// addends for the owner; from the owner, sums for all others. Pieces are numbered through all sums
/// and never reset, so that a rank may be in the next sum while others end this one.
class HostRing::Boxes {
 public:
  Boxes(const HostRing& ring, std::byte* memory)
      : memory_(memory),
        ranks_(ring.ranks_),
        lanes_(ring.lanes_),
        piece_bytes_(ring.piece_bytes_),
        slots_(static_cast<std::size_t>(ring.tuning_.slots)) {}

  std::size_t bytes() const { return lanes_ * ranks_ * (kHeader + slots_ * piece_bytes_); }

  /// How many pieces the rank has put in.
  std::atomic_ref<std::uint64_t> put(std::size_t lane, std::size_t rank) const {
    return counter(lane, rank, 0);
  }
  /// How many pieces of sums the rank has read from the lane's owner; of the owner: how many pieces
  /// it has taken from every other rank.
  std::atomic_ref<std::uint64_t> read(std::size_t lane, std::size_t rank) const {
    return counter(lane, rank, kLine);
  }
  std::byte* piece(std::size_t lane, std::size_t rank, std::uint64_t number) const {
    return memory_ + lanes_ * ranks_ * kHeader +
           ((lane * ranks_ + rank) * slots_ + number % slots_) * piece_bytes_;
  }
  std::uint64_t slots() const { return slots_; }

 private:
  static constexpr std::size_t kLine = 64;  // one for each writer
  static constexpr std::size_t kHeader = 2 * kLine;

  std::atomic_ref<std::uint64_t> counter(std::size_t lane, std::size_t rank,
                                         std::size_t offset) const {
    static_assert(std::atomic_ref<std::uint64_t>::is_always_lock_free);
    return std::atomic_ref<std::uint64_t>(
        *reinterpret_cast<std::uint64_t*>(memory_ + (lane * ranks_ + rank) * kHeader + offset));
  }

  std::byte* memory_;
  std::size_t ranks_, lanes_, piece_bytes_, slots_;
};

/// One sum.
template <typename T>
class HostRing::Pass {
 public:
  Pass(HostRing& ring, std::span<T> values)
      : ring_(ring),
        boxes_(ring, ring.memory_->data()),
        values_(values),
        lanes_{values.size(), ring.lanes_} {
    for (std::size_t lane = 0; lane < ring_.lanes_; ++lane) {
      ring_.to_give_[lane] = addends(lane);
      ring_.to_get_[lane] = sums(lane);
    }
    if (!owns_lane()) return;
    to_take_ = addends(ring_.mine_);
    to_publish_ = sums(ring_.mine_);
    if (ring_.ring_) across_.emplace(*ring_.ring_, this->lane(ring_.mine_));
  }

  void run() {
    const std::size_t much = static_cast<std::size_t>(ring_.tuning_.ring.in_flight) / 4;
    ring_.pace_.restart();
    while (!is_complete()) {
      const std::size_t moved = advance();
      moved_ += moved;
      if (moved > 0) {
        ranks::heartbeat().progress();
        continue;
      }
      ring_.pace_.rest(moved_ > much);
      moved_ = 0;
    }
  }

 private:
  bool owns_lane() const { return ring_.mine_ < ring_.lanes_; }
  bool is_alone() const { return ring_.ranks_ == 1; }
  std::span<T> lane(std::size_t lane) const {
    return values_.subspan(lanes_.begin(lane), lanes_.size(lane));
  }
  std::span<T> piece(std::size_t lane, const PartWalk& walk) const {
    return this->lane(lane).subspan(walk.begin(), walk.size());
  }
  T* shared(std::size_t lane, std::size_t rank, std::uint64_t number) const {
    return reinterpret_cast<T*>(boxes_.piece(lane, rank, number));
  }

  // The orders in which the lane's ring across hosts wants addends, and gives sums.
  PartWalk addends(std::size_t lane) const { return walk(lane, ring_.host_); }
  PartWalk sums(std::size_t lane) const { return walk(lane, ring_.host_ + 1); }
  PartWalk walk(std::size_t lane, int first_part) const {
    return {{lanes_.size(lane), static_cast<std::size_t>(ring_.hosts_)},
            static_cast<std::size_t>(first_part),
            ring_.piece_bytes_ / sizeof(T)};
  }

  bool is_complete() const {
    for (std::size_t lane = 0; lane < ring_.lanes_; ++lane) {
      if (lane == ring_.mine_) continue;
      if (!ring_.to_give_[lane].at_end() || !ring_.to_get_[lane].at_end()) return false;
    }
    return !owns_lane() ||
           (to_take_.at_end() && to_publish_.at_end() && (!across_ || across_->is_complete()));
  }

  /// Does what can be done without waiting; how many pieces and segments that was.
  std::size_t advance() {
    std::size_t moved = 0;
    // From the next lane on, so that not all ranks begin with the same.
    for (std::size_t i = 1; i <= ring_.lanes_; ++i) {
      const std::size_t lane = (ring_.mine_ + i) % ring_.lanes_;
      if (lane != ring_.mine_) moved += (give(lane) ? 1 : 0) + (get(lane) ? 1 : 0);
    }
    if (!owns_lane()) return moved;
    moved += take() ? 1 : 0;
    std::size_t summed = to_take_.walked();
    if (across_) {
      moved += across_->advance(to_take_.walked()) ? 1 : 0;
      summed = across_->summed();
    }
    return moved + (publish(summed) ? 1 : 0);
  }

  /// Puts this rank's addends of a piece into the box of their lane.
  bool give(std::size_t lane) {
    PartWalk& walk = ring_.to_give_[lane];
    std::uint64_t& given = ring_.given_[lane];
    if (walk.at_end()) return false;
    const std::uint64_t taken = boxes_.read(lane, lane).load(std::memory_order_acquire);
    if (given - taken >= boxes_.slots()) return false;
    const std::span<T> mine = piece(lane, walk);
    std::memcpy(shared(lane, ring_.mine_, given), mine.data(), mine.size_bytes());
    boxes_.put(lane, ring_.mine_).store(++given, std::memory_order_release);
    walk.advance();
    return true;
  }

  /// Adds another rank's addends of a piece of this rank's lane.
  bool take() {
    if (to_take_.at_end()) return false;
    if (!is_alone()) {
      const std::size_t other = (ring_.mine_ + 1 + taken_from_) % ring_.ranks_;
      const std::uint64_t put = boxes_.put(ring_.mine_, other).load(std::memory_order_acquire);
      if (put <= ring_.taken_) return false;
      const std::span<T> sum = piece(ring_.mine_, to_take_);
      const T* const addends = shared(ring_.mine_, other, ring_.taken_);
      for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += addends[i];
      if (++taken_from_ < ring_.ranks_ - 1) return true;
      taken_from_ = 0;
      boxes_.read(ring_.mine_, ring_.mine_).store(++ring_.taken_, std::memory_order_release);
    }
    to_take_.advance();
    return true;
  }

  /// Puts a piece of this rank's lane into the box that the others read, if it is `summed`.
  bool publish(std::size_t summed) {
    if (to_publish_.at_end() || to_publish_.walked() + to_publish_.size() > summed) return false;
    if (!is_alone()) {
      for (std::size_t i = 1; i < ring_.ranks_; ++i) {
        const std::size_t other = (ring_.mine_ + i) % ring_.ranks_;
        const std::uint64_t read = boxes_.read(ring_.mine_, other).load(std::memory_order_acquire);
        if (ring_.published_ - read >= boxes_.slots()) return false;
      }
      const std::span<T> sum = piece(ring_.mine_, to_publish_);
      std::memcpy(shared(ring_.mine_, ring_.mine_, ring_.published_), sum.data(), sum.size_bytes());
      boxes_.put(ring_.mine_, ring_.mine_).store(++ring_.published_, std::memory_order_release);
    }
    to_publish_.advance();
    return true;
  }

  /// Reads a piece of sums of another rank's lane.
  bool get(std::size_t lane) {
    PartWalk& walk = ring_.to_get_[lane];
    std::uint64_t& got = ring_.got_[lane];
    if (walk.at_end()) return false;
    if (boxes_.put(lane, lane).load(std::memory_order_acquire) <= got) return false;
    const std::span<T> mine = piece(lane, walk);
    std::memcpy(mine.data(), shared(lane, lane, got), mine.size_bytes());
    boxes_.read(lane, ring_.mine_).store(++got, std::memory_order_release);
    walk.advance();
    return true;
  }

  HostRing& ring_;
  Boxes boxes_;
  std::span<T> values_;
  Parts lanes_;
  PartWalk to_take_, to_publish_;
  std::size_t taken_from_ = 0;  ///< ranks, for the piece that is being taken
  std::optional<Ring::Pass<T>> across_;
  std::size_t moved_ = 0;  ///< since the last rest
};

HostRing::HostRing(MPI_Comm communicator, MPI_Comm beside, HostRingTuning tuning)
    : tuning_(tuning),
      pace_(tuning.ring.shortest_sleep_microseconds, tuning.ring.longest_sleep_microseconds),
      ranks_(static_cast<std::size_t>(Communicator::size_of(beside))),
      mine_(static_cast<std::size_t>(Communicator::rank_in(beside))) {
  // A host is known by its lowest rank; the lowest ranks know how many of them there are.
  int lowest = Communicator::rank_in(communicator);
  checked(MPI_Bcast(&lowest, 1, MPI_INT, 0, beside), "MPI_Bcast");
  {
    const Communicator leaders =
        Communicator::split(communicator, mine_ == 0 ? 0 : MPI_UNDEFINED, lowest);
    int place[2] = {leaders ? leaders.size() : 0, leaders ? leaders.rank() : 0};
    checked(MPI_Bcast(place, 2, MPI_INT, 0, beside), "MPI_Bcast");
    hosts_ = place[0];
    host_ = place[1];
  }
  int here = static_cast<int>(ranks_), fewest = 0;
  checked(MPI_Allreduce(&here, &fewest, 1, MPI_INT, MPI_MIN, communicator), "MPI_Allreduce");
  lanes_ = static_cast<std::size_t>(tuning.most_lanes > 0 ? std::min(fewest, tuning.most_lanes)
                                                          : fewest);
  const bool owns_lane = mine_ < lanes_;
  const Communicator owners =
      Communicator::split(communicator, owns_lane ? static_cast<int>(mine_) : MPI_UNDEFINED, host_);
  if (owns_lane && hosts_ > 1) ring_.emplace(owners.get(), tuning.ring);

  constexpr std::size_t kPage = 4096;
  const std::size_t fair = kMostSharedBytes / (lanes_ * static_cast<std::size_t>(tuning.slots));
  piece_bytes_ = std::min(tuning.piece_bytes, std::max(fair / kPage * kPage, kPage));
  given_.resize(lanes_);
  got_.resize(lanes_);
  to_give_.resize(lanes_);
  to_get_.resize(lanes_);
  // Last, because it may fail on one host and not on another.
  memory_.emplace(beside, Boxes(*this, nullptr).bytes());
}

std::size_t HostRing::bytes() const {
  return (ring_ ? ring_->bytes() : 0) + memory_->size() / ranks_;
}

void HostRing::all_reduce(std::span<float> values) { Pass<float>(*this, values).run(); }

void HostRing::all_reduce(std::span<std::int32_t> values) {
  const std::span<std::uint32_t> bits(reinterpret_cast<std::uint32_t*>(values.data()),
                                      values.size());
  Pass<std::uint32_t>(*this, bits).run();
}

}  // namespace cllm::mpi
