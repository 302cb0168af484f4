#include "cllm/mpi/ring.h"

#include <algorithm>

#include "cllm/mpi/checked.h"
#include "cllm/ranks/heartbeat.h"

namespace cllm::mpi {
namespace {

constexpr int kTag = 0;

MPI_Datatype datatype(float) { return MPI_FLOAT; }
MPI_Datatype datatype(std::uint32_t) { return MPI_UINT32_T; }

template <typename T>
void add(T* __restrict to, const T* __restrict from, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) to[i] += from[i];
}

}  // namespace

template <typename T>
Ring::Pass<T>::Pass(Ring& ring, std::span<T> values)
    : ring_(ring),
      values_(values),
      parts_{values.size(), static_cast<std::size_t>(ring.size_)},
      segment_(ring.tuning_.segment_bytes / sizeof(T)) {
  skip_empty(kSend, to_send_);
  skip_empty(kReceive, to_receive_);
  to_complete_ = to_send_;
  to_absorb_ = to_receive_;
}

template <typename T>
bool Ring::Pass<T>::advance(std::size_t offered) {
  bool moved = post_receives();
  moved |= post_sends(offered);
  moved |= absorb_arrival(offered);
  moved |= complete_send();
  return moved;
}

template <typename T>
std::size_t Ring::Pass<T>::summed() const {
  // Before the part that is summed here come all others but the rank's own.
  const std::size_t before =
      parts_.elements - parts_.size(part(kSend, 0)) - parts_.size(part(kReceive, additions() - 1));
  return absorbed_elements_ - std::min(before, absorbed_elements_);
}

template <typename T>
std::size_t Ring::Pass<T>::part(Direction direction, int step) const {
  const int ahead = 2 * ring_.size_;  // keeps the dividend from being negative
  return static_cast<std::size_t>((ring_.rank_ - step - direction + ahead) % ring_.size_);
}

template <typename T>
void Ring::Pass<T>::skip_empty(Direction direction, Position& position) const {
  while (position.step < steps() &&
         position.offset >= parts_.size(part(direction, position.step))) {
    position = {position.step + 1, 0};
  }
}

template <typename T>
void Ring::Pass<T>::proceed(Direction direction, Position& position) const {
  position.offset += segment_;
  skip_empty(direction, position);
}

template <typename T>
std::span<T> Ring::Pass<T>::segment(Direction direction, Position position) const {
  const std::size_t p = part(direction, position.step);
  return values_.subspan(parts_.begin(p) + position.offset,
                         std::min(segment_, parts_.size(p) - position.offset));
}

template <typename T>
T* Ring::Pass<T>::arrival(std::size_t slot) const {
  return reinterpret_cast<T*>(ring_.arrivals_.data()) + slot * segment_;
}

template <typename T>
bool Ring::Pass<T>::post_receives() {
  bool posted = false;
  while (to_receive_.step < steps() && receives_posted_ - absorbed_ < ring_.receives_.size()) {
    // A sum overwrites what this rank sent in the first half, so that must have left.
    const Position sent{to_receive_.step - additions(), to_receive_.offset};
    if (!adds(to_receive_) && !(sent < to_complete_)) break;
    const std::span<T> target = segment(kReceive, to_receive_);
    const std::size_t s = slot(receives_posted_);
    checked(
        MPI_Irecv(adds(to_receive_) ? arrival(s) : target.data(), static_cast<int>(target.size()),
                  datatype(T{}), (ring_.rank_ + ring_.size_ - 1) % ring_.size_, kTag,
                  ring_.communicator_.get(), &ring_.receives_[s]),
        "MPI_Irecv");
    proceed(kReceive, to_receive_);
    ++receives_posted_;
    posted = true;
  }
  return posted;
}

template <typename T>
bool Ring::Pass<T>::post_sends(std::size_t offered) {
  bool posted = false;
  while (to_send_.step < steps() && sends_posted_ - completed_ < ring_.sends_.size()) {
    const std::span<T> source = segment(kSend, to_send_);
    // What is sent must be known; what is sent on must have arrived.
    const bool known = to_send_.step == 0
                           ? to_send_.offset + source.size() <= offered
                           : Position{to_send_.step - 1, to_send_.offset} < to_absorb_;
    if (!known) break;
    checked(MPI_Isend(source.data(), static_cast<int>(source.size()), datatype(T{}),
                      (ring_.rank_ + 1) % ring_.size_, kTag, ring_.communicator_.get(),
                      &ring_.sends_[slot(sends_posted_)]),
            "MPI_Isend");
    proceed(kSend, to_send_);
    ++sends_posted_;
    posted = true;
  }
  return posted;
}

template <typename T>
bool Ring::Pass<T>::absorb_arrival(std::size_t offered) {
  if (absorbed_ == receives_posted_) return false;
  const std::span<T> target = segment(kReceive, to_absorb_);
  // The parts that are added to follow the rank's own.
  const std::size_t wanted = parts_.size(part(kSend, 0)) + absorbed_elements_ + target.size();
  if (adds(to_absorb_) && wanted > offered) return false;
  const std::size_t s = slot(absorbed_);
  if (!has_ended(ring_.receives_[s])) return false;
  if (adds(to_absorb_)) add(target.data(), arrival(s), target.size());
  absorbed_elements_ += target.size();
  proceed(kReceive, to_absorb_);
  ++absorbed_;
  ranks::heartbeat().progress();
  return true;
}

template <typename T>
bool Ring::Pass<T>::complete_send() {
  if (completed_ == sends_posted_ || !has_ended(ring_.sends_[slot(completed_)])) return false;
  proceed(kSend, to_complete_);
  ++completed_;
  return true;
}

template class Ring::Pass<float>;
template class Ring::Pass<std::uint32_t>;

Ring::Ring(MPI_Comm communicator, RingTuning tuning)
    : tuning_(tuning),
      pace_(tuning.shortest_sleep_microseconds, tuning.longest_sleep_microseconds),
      communicator_(Communicator::duplicate(communicator)),
      rank_(communicator_.rank()),
      size_(communicator_.size()),
      sends_(static_cast<std::size_t>(tuning.in_flight), MPI_REQUEST_NULL),
      receives_(static_cast<std::size_t>(tuning.in_flight), MPI_REQUEST_NULL),
      arrivals_(static_cast<std::size_t>(tuning.in_flight) * tuning.segment_bytes) {}

template <typename T>
void Ring::sum_all(std::span<T> values) {
  Pass<T> pass(*this, values);
  pace_.restart();
  std::size_t arrived_before = 0;
  while (!pass.is_complete()) {
    if (pass.advance(values.size())) continue;
    pace_.rest(pass.arrived() - arrived_before > receives_.size() / 4);
    arrived_before = pass.arrived();
  }
}

void Ring::all_reduce(std::span<float> values) { sum_all(values); }

void Ring::all_reduce(std::span<std::int32_t> values) {
  sum_all(std::span(reinterpret_cast<std::uint32_t*>(values.data()), values.size()));
}

}  // namespace cllm::mpi
