#include "cllm/collectives/pass.h"

#include <algorithm>

#include "cllm/ranks/heartbeat.h"

namespace cllm::collectives {
namespace {

template <typename T>
void add(T* __restrict to, const T* __restrict from, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) to[i] += from[i];
}

}  // namespace

template <typename T>
Pass<T>::Pass(Window& window, const Schedule& schedule, Collective what, std::span<T> values,
              std::span<const ranks::Part> parts, std::span<const int> peers)
    : window_(window),
      schedule_(schedule),
      what_(what),
      values_(values),
      parts_(parts),
      peers_(peers),
      longest_(window.segment_bytes / sizeof(T)),
      first_(what == Collective::kAllGather ? schedule.half() : 0),
      end_(what == Collective::kReduceScatter ? schedule.half() : 2 * schedule.half()) {
  for (const ranks::Part& part : parts) total_ += part.size;
  for (Stream* stream : {&to_receive_, &to_absorb_, &to_send_, &to_complete_}) {
    move_to(*stream, {first_, 0, 0});
  }
}

/// The segment at a position, or the next one behind it: it goes on through parts that lie next to
/// each other.
template <typename T>
void Pass<T>::move_to(Stream& stream, Position at) const {
  stream.size = 0;
  for (; at.round < end_; at = {at.round + 1, 0, 0}) {
    const Round round = schedule_.round(at.round);
    const Parts parts = stream.direction == kSend ? round.sent : round.received;
    for (; at.part < parts.count; at = {at.round, at.part + 1, 0}) {
      const ranks::Part& next = part(parts, at.part);
      if (at.offset == next.size) continue;
      if (stream.size == 0) {
        stream.at = at;
        stream.begin = next.offset + at.offset;
        stream.peer =
            peers_[static_cast<std::size_t>(stream.direction == kSend ? round.to : round.from)];
      } else if (next.offset != stream.begin + stream.size) {
        break;
      }
      const std::size_t taken = std::min(longest_ - stream.size, next.size - at.offset);
      stream.size += taken;
      at.offset += taken;
      if (stream.size == longest_) break;
    }
    if (stream.size == 0) continue;
    stream.next = at;
    return;
  }
  stream.at = at;
}

template <typename T>
bool Pass<T>::advance(std::size_t offered) {
  bool moved = post_receives();
  moved |= post_sends(offered);
  moved |= absorb_arrival(offered);
  moved |= complete_send();
  return moved;
}

template <typename T>
std::size_t Pass<T>::summed() const {
  if (!schedule_.follows()) return at_end(to_absorb_) ? total_ : 0;
  if (!reduces()) return part_size(0) + absorbed_;
  // Before the rank's own part come all others but the one that it sent first.
  const std::size_t before = total_ - part_size(0) - part_size(schedule_.ranks() - 1);
  return absorbed_ - std::min(before, absorbed_);
}

template <typename T>
bool Pass<T>::post_receives() {
  bool posted = false;
  while (!at_end(to_receive_) && to_receive_.count - to_absorb_.count < window_.in_flight) {
    const bool adds = this->adds(to_receive_);
    // A sum overwrites what this rank sent in the first half, so that must have left.
    const Position sent{schedule_.sent_in(to_receive_.at.round), to_receive_.at.part,
                        to_receive_.at.offset};
    if (!adds && reduces() && !(sent < to_complete_.at)) break;
    const std::size_t s = slot(to_receive_.count);
    T* const target = adds ? arrival(s) : values_.data() + to_receive_.begin;
    window_.transport.receive(s, std::as_writable_bytes(std::span(target, to_receive_.size)),
                              to_receive_.peer);
    proceed(to_receive_);
    posted = true;
  }
  return posted;
}

/// Whether what is sent next has been summed as far as its round has it, or has arrived.
template <typename T>
bool Pass<T>::is_known(std::size_t offered) const {
  const Position& at = to_send_.at;
  if (!schedule_.follows()) {
    return to_absorb_.at.round >= at.round && (!reduces() || offered >= total_);
  }
  if (at.round > first_) return Position{at.round - 1, at.part, at.offset} < to_absorb_.at;
  return !reduces() || offered >= at.offset + to_send_.size;
}

template <typename T>
bool Pass<T>::post_sends(std::size_t offered) {
  bool posted = false;
  while (!at_end(to_send_) && to_send_.count - to_complete_.count < window_.in_flight) {
    if (!is_known(offered)) break;
    window_.transport.send(slot(to_send_.count),
                           std::as_bytes(values_.subspan(to_send_.begin, to_send_.size)),
                           to_send_.peer);
    proceed(to_send_);
    posted = true;
  }
  return posted;
}

template <typename T>
bool Pass<T>::absorb_arrival(std::size_t offered) {
  if (to_absorb_.count == to_receive_.count) return false;
  const bool adds = this->adds(to_absorb_);
  if (adds) {
    // In a ring, the parts that are added to follow the one that is sent first.
    const std::size_t wanted = schedule_.follows()
                                   ? part_size(schedule_.ranks() - 1) + absorbed_ + to_absorb_.size
                                   : total_;
    if (wanted > offered) return false;
  }
  const std::size_t s = slot(to_absorb_.count);
  if (!window_.transport.has_received(s)) return false;
  if (adds && window_.transport.adds(to_absorb_.size * sizeof(T))) {
    add(values_.data() + to_absorb_.begin, arrival(s), to_absorb_.size);
  }
  absorbed_ += to_absorb_.size;
  proceed(to_absorb_);
  ranks::heartbeat().progress();
  return true;
}

template <typename T>
bool Pass<T>::complete_send() {
  if (to_complete_.count == to_send_.count) return false;
  if (!window_.transport.has_sent(slot(to_complete_.count))) return false;
  proceed(to_complete_);
  return true;
}

template class Pass<float>;
template class Pass<std::uint32_t>;

}  // namespace cllm::collectives
