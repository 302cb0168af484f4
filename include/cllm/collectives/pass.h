#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <span>

#include "cllm/base/aligned_buffer.h"
#include "cllm/collectives/schedule.h"
#include "cllm/collectives/transport.h"
#include "cllm/collectives/tuning.h"
#include "cllm/ranks/process_group.h"

namespace cllm::collectives {

/// Messages of a transport under way, a fixed number each way, and where those that are to be added
/// arrive. One Pass at a time uses it.
struct Window {
  /// The transport has tuning.in_flight slots each way, and must outlive it.
  Window(Transport& messages, const Tuning& tuning)
      : transport(messages),
        segment_bytes(tuning.segment_bytes),
        in_flight(tuning.in_flight),
        arrivals(tuning.in_flight * tuning.segment_bytes) {}

  Transport& transport;
  std::size_t segment_bytes, in_flight;
  AlignedBuffer<std::byte> arrivals;  ///< a segment for each receive
};

/// One sum, or half of one, that follows a schedule: a state machine for a caller that does other
/// things between its steps, and whose array may become known, and be wanted, piece by piece. T is
/// float or std::uint32_t. What it is given must outlive it, and it must be driven to its end.
/// Allocates nothing.
///
/// Parts travel in segments. Those of a round that lie next to each other are one stretch, so that
/// many short parts are few messages; sender and receiver cut alike, by the table of parts.
template <typename T>
class Pass {
 public:
  /// `parts`: of `values`, one for each rank of the schedule; they don't overlap, may be empty and
  /// of unlike sizes, and are the same on all ranks. `peers`: what the transport calls these ranks.
  Pass(Window& window, const Schedule& schedule, Collective what, std::span<T> values,
       std::span<const ranks::Part> parts, std::span<const int> peers);

  /// Does what can be done without waiting. `offered`: how many elements hold this rank's addend by
  /// now; the others may still be written. In a ring they count in the order of a PartWalk from
  /// part rank-1; with halving, all are needed before anything begins. Means nothing where nothing
  /// is added. Returns whether it did anything.
  bool advance(std::size_t offered);
  bool is_complete() const { return at_end(to_absorb_) && at_end(to_complete_); }
  /// How many elements hold the sum. In a ring they count in the order of a PartWalk from part
  /// `rank`, and may be read while the others come; with halving it is none until it is all.
  std::size_t summed() const;
  /// Segments that have arrived.
  std::size_t arrived() const { return to_absorb_.count; }

 private:
  /// Where a rank stands in the stream of segments that it sends, or receives: the round, the part
  /// in it, and the first element in that.
  struct Position {
    int round = 0, part = 0;
    std::size_t offset = 0;
    auto operator<=>(const Position&) const = default;
  };
  enum Direction { kSend, kReceive };
  /// The next segment that something has to do with, and how many were before it.
  struct Stream {
    Direction direction;
    Position at = {}, next = {};      ///< where it begins, and the one after it
    std::size_t begin = 0, size = 0;  ///< in the array
    int peer = 0;
    std::size_t count = 0;
  };

  bool reduces() const { return what_ != Collective::kAllGather; }
  bool adds(const Stream& stream) const { return stream.at.round < schedule_.half(); }
  bool at_end(const Stream& stream) const { return stream.at.round >= end_; }
  const ranks::Part& part(Parts parts, int index) const {
    return parts_[static_cast<std::size_t>((parts.first + index) % schedule_.ranks())];
  }
  std::size_t part_size(int ahead) const { return part({schedule_.rank(), 0}, ahead).size; }
  std::size_t slot(std::size_t number) const { return number % window_.in_flight; }
  T* arrival(std::size_t slot) const {
    return reinterpret_cast<T*>(window_.arrivals.data()) + slot * longest_;
  }

  void move_to(Stream& stream, Position position) const;
  void proceed(Stream& stream) const {
    ++stream.count;
    move_to(stream, stream.next);
  }
  bool post_receives();
  bool post_sends(std::size_t offered);
  bool is_known(std::size_t offered) const;
  bool absorb_arrival(std::size_t offered);
  bool complete_send();

  Window& window_;
  Schedule schedule_;
  Collective what_;
  std::span<T> values_;
  std::span<const ranks::Part> parts_;
  std::span<const int> peers_;
  std::size_t longest_;  ///< elements of a segment
  int first_, end_;      ///< rounds
  std::size_t total_ = 0;
  Stream to_receive_{kReceive}, to_absorb_{kReceive}, to_send_{kSend}, to_complete_{kSend};
  std::size_t absorbed_ = 0;  ///< elements
};

}  // namespace cllm::collectives
