#pragma once

#include <cstddef>
#include <optional>
#include <span>

#include "cllm/collectives/collectives.h"

namespace cllm::collectives {

/// A state machine: it must be driven to its end, and what it is given must outlive it. One at a
/// time of one Collectives.
template <typename T>
class Collectives::Operation {
 public:
  /// `parts`: as of reduce_scatter; none for a whole sum.
  Operation(Collectives& all, Collective what, std::span<T> values,
            std::span<const ranks::Part> parts, Method method);

  /// Does what can be done without waiting; how many pieces and segments that was.
  std::size_t advance();
  bool is_complete() const;

 private:
  bool adds() const { return what_ != Collective::kAllGather; }
  bool gathers() const { return what_ != Collective::kReduceScatter; }
  bool owns_lane() const { return mine_ < lanes_; }
  bool is_alone() const { return ranks_ == 1; }
  std::span<const ranks::Part> lane(std::size_t lane) const {
    return std::span(all_.parts_).subspan(lane * hosts_, hosts_);
  }
  std::span<T> piece(const PartWalk& walk) const {
    return values_.subspan(walk.begin(), walk.size());
  }
  T* shared(std::size_t lane, std::size_t rank, std::uint64_t number) const {
    return reinterpret_cast<T*>(all_.boxes_->piece(lane, rank, number));
  }
  void copy(T* to, const T* from, std::size_t count) const;

  int owner(std::size_t lane, std::size_t host) const {
    return by_hosts_ ? all_.hosts_.ranks_of(host)[lane] : static_cast<int>(host);
  }
  void lay_out(std::span<const ranks::Part> parts);
  /// The orders in which the lane's pass across hosts wants addends, and gives sums.
  PartWalk addends(std::size_t lane) const { return walk(lane, host_ + hosts_ - 1); }
  PartWalk sums(std::size_t lane) const { return walk(lane, host_); }
  PartWalk walk(std::size_t lane, std::size_t first) const;

  bool give(std::size_t lane);
  bool take();
  bool publish(std::size_t summed);
  bool get(std::size_t lane);

  Collectives& all_;
  Collective what_;
  std::span<T> values_;
  // As this operation sees them: whether hosts have several ranks; hosts and this one's place;
  // ranks of this host and this one's number; lanes.
  bool by_hosts_;
  std::size_t hosts_, host_, ranks_, mine_, lanes_;
  PartWalk to_take_, to_publish_;
  std::size_t taken_from_ = 0;  ///< ranks, for the piece that is being taken
  std::optional<Pass<T>> across_;
};

}  // namespace cllm::collectives
