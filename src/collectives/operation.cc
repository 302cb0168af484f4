#include "cllm/collectives/operation.h"

#include <cstring>
#include <limits>

namespace cllm::collectives {

template <typename T>
Collectives::Operation<T>::Operation(Collectives& all, Collective what, std::span<T> values,
                                     std::span<const ranks::Part> parts, Method method)
    : all_(all), what_(what), values_(values) {
  const Hosts& hosts = all.hosts_;
  const int rank = all.transport_.rank();
  by_hosts_ = all.boxes_ && method.by_hosts &&
              (what == Collective::kAllReduce ||
               (hosts.fewest_ranks() == all.lanes_ && hosts.most_ranks() == all.lanes_));
  hosts_ = by_hosts_ ? hosts.count() : hosts.all_ranks();
  host_ = by_hosts_ ? hosts.host_of(rank) : static_cast<std::size_t>(rank);
  ranks_ = by_hosts_ ? hosts.ranks_of(host_).size() : 1;
  mine_ = by_hosts_ ? hosts.number_of(rank) : 0;
  lanes_ = by_hosts_ ? all.lanes_ : 1;
  lay_out(parts);
  for (std::size_t lane = 0; lane < all.lanes_; ++lane) {
    const bool is_others = lane < lanes_ && lane != mine_;
    all.to_give_[lane] = adds() && is_others ? addends(lane) : PartWalk();
    all.to_get_[lane] = gathers() && is_others ? sums(lane) : PartWalk();
  }
  if (!owns_lane()) return;
  if (adds() && !is_alone()) to_take_ = addends(mine_);
  if (gathers() && !is_alone()) to_publish_ = sums(mine_);
  if (hosts_ == 1) return;
  for (std::size_t host = 0; host < hosts_; ++host) all.peers_[host] = owner(mine_, host);
  across_.emplace(all.window_,
                  Schedule(method.pattern, static_cast<int>(host_), static_cast<int>(hosts_)), what,
                  values, lane(mine_), std::span<const int>(all.peers_).first(hosts_));
}

/// Which parts of the array are which lane's, and which host's in it.
template <typename T>
void Collectives::Operation<T>::lay_out(std::span<const ranks::Part> parts) {
  for (std::size_t lane = 0; lane < lanes_; ++lane) {
    const ranks::Part whole = part_of({0, values_.size()}, lanes_, lane);
    for (std::size_t host = 0; host < hosts_; ++host) {
      all_.parts_[lane * hosts_ + host] = parts.empty()
                                              ? part_of(whole, hosts_, host)
                                              : parts[static_cast<std::size_t>(owner(lane, host))];
    }
  }
}

template <typename T>
PartWalk Collectives::Operation<T>::walk(std::size_t lane, std::size_t first) const {
  return {this->lane(lane), first, all_.boxes_->piece_bytes() / sizeof(T)};
}

template <typename T>
bool Collectives::Operation<T>::is_complete() const {
  for (std::size_t lane = 0; lane < lanes_; ++lane) {
    if (!all_.to_give_[lane].at_end() || !all_.to_get_[lane].at_end()) return false;
  }
  return !owns_lane() ||
         (to_take_.at_end() && to_publish_.at_end() && (!across_ || across_->is_complete()));
}

template <typename T>
std::size_t Collectives::Operation<T>::advance() {
  std::size_t moved = 0;
  // From the next lane on, so that not all ranks begin with the same.
  for (std::size_t i = 1; i <= lanes_; ++i) {
    const std::size_t lane = (mine_ + i) % lanes_;
    if (lane != mine_) moved += (give(lane) ? 1 : 0) + (get(lane) ? 1 : 0);
  }
  if (!owns_lane()) return moved;
  moved += take() ? 1 : 0;
  // On one host, what was taken is the sum. What isn't added, and what is this rank's alone, needs
  // no taking.
  std::size_t summed =
      adds() && !is_alone() ? to_take_.walked() : std::numeric_limits<std::size_t>::max();
  if (across_) {
    moved += across_->advance(summed) ? 1 : 0;
    summed = across_->summed();
  }
  return moved + (publish(summed) ? 1 : 0);
}

template <typename T>
void Collectives::Operation<T>::copy(T* to, const T* from, std::size_t count) const {
  if (all_.transport_.copies(count * sizeof(T))) std::memcpy(to, from, count * sizeof(T));
}

/// Puts this rank's addends of a piece into the box of their lane.
template <typename T>
bool Collectives::Operation<T>::give(std::size_t lane) {
  PartWalk& walk = all_.to_give_[lane];
  std::uint64_t& given = all_.given_[lane];
  if (walk.at_end()) return false;
  const std::uint64_t taken = all_.boxes_->read(lane, lane).load(std::memory_order_acquire);
  if (given - taken >= all_.boxes_->slots()) return false;
  const std::span<T> mine = piece(walk);
  copy(shared(lane, mine_, given), mine.data(), mine.size());
  all_.boxes_->put(lane, mine_).store(++given, std::memory_order_release);
  walk.advance();
  return true;
}

/// Adds another rank's addends of a piece of this rank's lane.
template <typename T>
bool Collectives::Operation<T>::take() {
  if (to_take_.at_end()) return false;
  const Boxes& boxes = *all_.boxes_;
  const std::size_t other = (mine_ + 1 + taken_from_) % ranks_;
  const std::uint64_t put = boxes.put(mine_, other).load(std::memory_order_acquire);
  if (put <= all_.taken_) return false;
  const std::span<T> sum = piece(to_take_);
  const T* const addends = shared(mine_, other, all_.taken_);
  if (all_.transport_.adds(sum.size_bytes())) {
    for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += addends[i];
  }
  if (++taken_from_ < ranks_ - 1) return true;
  taken_from_ = 0;
  boxes.read(mine_, mine_).store(++all_.taken_, std::memory_order_release);
  to_take_.advance();
  return true;
}

/// Puts a piece of this rank's lane into the box that the others read, if it is `summed`.
template <typename T>
bool Collectives::Operation<T>::publish(std::size_t summed) {
  if (to_publish_.at_end() || to_publish_.walked() + to_publish_.size() > summed) return false;
  const Boxes& boxes = *all_.boxes_;
  for (std::size_t i = 1; i < ranks_; ++i) {
    const std::size_t other = (mine_ + i) % ranks_;
    const std::uint64_t read = boxes.read(mine_, other).load(std::memory_order_acquire);
    if (all_.published_ - read >= boxes.slots()) return false;
  }
  const std::span<T> sum = piece(to_publish_);
  copy(shared(mine_, mine_, all_.published_), sum.data(), sum.size());
  boxes.put(mine_, mine_).store(++all_.published_, std::memory_order_release);
  to_publish_.advance();
  return true;
}

/// Reads a piece of sums of another rank's lane.
template <typename T>
bool Collectives::Operation<T>::get(std::size_t lane) {
  PartWalk& walk = all_.to_get_[lane];
  std::uint64_t& got = all_.got_[lane];
  if (walk.at_end()) return false;
  if (all_.boxes_->put(lane, lane).load(std::memory_order_acquire) <= got) return false;
  const std::span<T> mine = piece(walk);
  copy(mine.data(), shared(lane, lane, got), mine.size());
  all_.boxes_->read(lane, mine_).store(++got, std::memory_order_release);
  walk.advance();
  return true;
}

template class Collectives::Operation<float>;
template class Collectives::Operation<std::uint32_t>;

}  // namespace cllm::collectives
