#include "cllm/mpi/ring.h"

#include <algorithm>
#include <chrono>
#include <compare>
#include <thread>

#include "cllm/mpi/checked.h"

namespace cllm::mpi {
namespace {

constexpr int kTag = 0;

/// Where a rank stands in the stream of segments that it sends, or receives: the step round the
/// ring, and the first element of the segment in that step's part of the array.
struct Position {
  int step = 0;
  std::size_t offset = 0;
  auto operator<=>(const Position&) const = default;
};

/// The same segment so many steps before.
Position earlier(Position position, int steps) { return {position.step - steps, position.offset}; }

MPI_Datatype datatype(float) { return MPI_FLOAT; }
MPI_Datatype datatype(std::uint32_t) { return MPI_UINT32_T; }

template <typename T>
void add(T* __restrict to, const T* __restrict from, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) to[i] += from[i];
}

bool is_complete(MPI_Request& request) {
  int complete = 0;
  checked(MPI_Test(&request, &complete, MPI_STATUS_IGNORE), "MPI_Test");
  return complete != 0;
}

}  // namespace

/// One sum. In step t of 0 … 2(size-1)-1 a rank sends part (rank - t) and receives part
/// (rank - t - 1). In the first size-1 steps what arrives is added to what is here; after them rank
/// has the whole sum of part (rank + 1), and the other steps hand the sums round. What is sent in a
/// step is what was received in the step before, so segments follow each other through both halves
/// without a pause.
template <typename T>
class Ring::Pass {
 public:
  Pass(Ring& ring, std::span<T> values)
      : ring_(ring), values_(values), segment_(ring.tuning_.segment_bytes / sizeof(T)) {
    skip_empty(kSend, to_send_);
    skip_empty(kReceive, to_receive_);
    to_complete_ = to_send_;
    to_absorb_ = to_receive_;
  }

  void run() {
    std::size_t absorbed_before = 0;
    while (to_absorb_.step < steps() || to_complete_.step < steps()) {
      bool moved = post_receives();
      moved |= post_sends();
      moved |= absorb_arrival();
      moved |= complete_send();
      if (moved) continue;
      ring_.wait(absorbed_ - absorbed_before);
      absorbed_before = absorbed_;
    }
  }

 private:
  /// Of a step, the part that is sent or received is this many before the rank's own.
  enum Direction { kSend = 0, kReceive = 1 };

  int additions() const { return ring_.size_ - 1; }
  int steps() const { return 2 * additions(); }

  std::size_t part(Direction direction, int step) const {
    const int ahead = 2 * ring_.size_;  // keeps the dividend from being negative
    return static_cast<std::size_t>((ring_.rank_ - step - direction + ahead) % ring_.size_);
  }
  /// The first parts have one element more where the array doesn't divide evenly.
  std::size_t part_begin(std::size_t part) const {
    const auto ranks = static_cast<std::size_t>(ring_.size_);
    return part * (values_.size() / ranks) + std::min(part, values_.size() % ranks);
  }
  std::size_t part_size(std::size_t part) const { return part_begin(part + 1) - part_begin(part); }

  void skip_empty(Direction direction, Position& position) const {
    while (position.step < steps() &&
           position.offset >= part_size(part(direction, position.step))) {
      position = {position.step + 1, 0};
    }
  }
  void advance(Direction direction, Position& position) const {
    position.offset += segment_;
    skip_empty(direction, position);
  }

  std::span<T> segment(Direction direction, Position position) const {
    const std::size_t p = part(direction, position.step);
    return values_.subspan(part_begin(p) + position.offset,
                           std::min(segment_, part_size(p) - position.offset));
  }

  bool adds(Position position) const { return position.step < additions(); }
  T* arrival(std::size_t slot) const {
    return reinterpret_cast<T*>(ring_.arrivals_.data()) + slot * segment_;
  }
  std::size_t slot(std::size_t number) const { return number % ring_.receives_.size(); }

  bool post_receives() {
    bool posted = false;
    while (to_receive_.step < steps() && receives_posted_ - absorbed_ < ring_.receives_.size()) {
      // A sum overwrites what this rank sent in the first half, so that must have left.
      if (!adds(to_receive_) && !(earlier(to_receive_, additions()) < to_complete_)) break;
      const std::span<T> target = segment(kReceive, to_receive_);
      const std::size_t s = slot(receives_posted_);
      checked(
          MPI_Irecv(adds(to_receive_) ? arrival(s) : target.data(), static_cast<int>(target.size()),
                    datatype(T{}), (ring_.rank_ + ring_.size_ - 1) % ring_.size_, kTag,
                    ring_.communicator_, &ring_.receives_[s]),
          "MPI_Irecv");
      advance(kReceive, to_receive_);
      ++receives_posted_;
      posted = true;
    }
    return posted;
  }

  bool post_sends() {
    bool posted = false;
    while (to_send_.step < steps() && sends_posted_ - completed_ < ring_.sends_.size()) {
      // What is sent on must have arrived.
      if (to_send_.step > 0 && !(earlier(to_send_, 1) < to_absorb_)) break;
      const std::span<T> source = segment(kSend, to_send_);
      checked(MPI_Isend(source.data(), static_cast<int>(source.size()), datatype(T{}),
                        (ring_.rank_ + 1) % ring_.size_, kTag, ring_.communicator_,
                        &ring_.sends_[slot(sends_posted_)]),
              "MPI_Isend");
      advance(kSend, to_send_);
      ++sends_posted_;
      posted = true;
    }
    return posted;
  }

  bool absorb_arrival() {
    const std::size_t s = slot(absorbed_);
    if (absorbed_ == receives_posted_ || !is_complete(ring_.receives_[s])) return false;
    if (adds(to_absorb_)) {
      const std::span<T> target = segment(kReceive, to_absorb_);
      add(target.data(), arrival(s), target.size());
    }
    advance(kReceive, to_absorb_);
    ++absorbed_;
    return true;
  }

  bool complete_send() {
    if (completed_ == sends_posted_ || !is_complete(ring_.sends_[slot(completed_)])) return false;
    advance(kSend, to_complete_);
    ++completed_;
    return true;
  }

  Ring& ring_;
  std::span<T> values_;
  std::size_t segment_;  ///< elements
  // The next segment that each has to do with, and how many were before it.
  Position to_receive_, to_absorb_, to_send_, to_complete_;
  std::size_t receives_posted_ = 0, absorbed_ = 0, sends_posted_ = 0, completed_ = 0;
};

Ring::Ring(MPI_Comm communicator, RingTuning tuning)
    : tuning_(tuning),
      sleep_microseconds_(tuning.shortest_sleep_microseconds),
      sends_(static_cast<std::size_t>(tuning.in_flight), MPI_REQUEST_NULL),
      receives_(static_cast<std::size_t>(tuning.in_flight), MPI_REQUEST_NULL),
      arrivals_(static_cast<std::size_t>(tuning.in_flight) * tuning.segment_bytes) {
  checked(MPI_Comm_rank(communicator, &rank_), "MPI_Comm_rank");
  checked(MPI_Comm_size(communicator, &size_), "MPI_Comm_size");
  checked(MPI_Comm_dup(communicator, &communicator_), "MPI_Comm_dup");
}

/// Sleeps after `arrived` segments since the last sleep. Links differ by factors of a hundred, so
/// what arrives says how long: long enough that compute threads are not disturbed for every bit,
/// and short enough that there is always a message under way.
void Ring::wait(std::size_t arrived) {
  sleep_microseconds_ = arrived > receives_.size() / 4
                            ? std::max(sleep_microseconds_ / 2, tuning_.shortest_sleep_microseconds)
                            : std::min(sleep_microseconds_ * 2, tuning_.longest_sleep_microseconds);
  std::this_thread::sleep_for(std::chrono::microseconds(sleep_microseconds_));
}

// There is nothing to do about a failure here, and nobody to tell.
Ring::~Ring() { MPI_Comm_free(&communicator_); }

void Ring::sum(std::span<float> values) { Pass<float>(*this, values).run(); }

void Ring::sum(std::span<std::int32_t> values) {
  const std::span<std::uint32_t> bits(reinterpret_cast<std::uint32_t*>(values.data()),
                                      values.size());
  Pass<std::uint32_t>(*this, bits).run();
}

}  // namespace cllm::mpi
