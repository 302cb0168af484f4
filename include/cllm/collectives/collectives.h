#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "cllm/collectives/boxes.h"
#include "cllm/collectives/hosts.h"
#include "cllm/collectives/pace.h"
#include "cllm/collectives/part_walk.h"
#include "cllm/collectives/pass.h"
#include "cllm/collectives/schedule.h"
#include "cllm/collectives/transport.h"
#include "cllm/collectives/tuning.h"

namespace cllm::collectives {

/// How ranks go about a sum.
struct Method {
  Pattern pattern = Pattern::kRing;  ///< between hosts; between all ranks where it is flat
  bool by_hosts = true;              ///< ranks of a host add up in shared memory, if they have any
};

// Note [Lanes]
// By hosts, the ranks of a host add up in shared memory, and only their sum goes over the network,
// so a link carries each element once each way however many ranks a host has. The array falls into
// lanes. On each host a rank owns a lane: it takes what the host's other ranks have for it, sums it
// with the owners of that lane on the other hosts (Pass), and hands the result back. All of it goes
// piece by piece at the same time, so that the network never waits for memory.
//
// For a whole sum, lanes are of one length, as many as the host with the fewest ranks has ranks; on
// larger hosts the other ranks own none. For half of one, where parts belong to ranks, a lane has
// the parts of the ranks of one number on their hosts, which are the lane's owners: so each part
// ends, or begins, where it should be. That wants as many ranks on each host; where they are
// unlike, halves go as if each rank had a host of its own.

/// Sums arrays over ranks, or does half of that: reduce-scatter, all-gather. Sums of integers are
/// exact (modulo 2^32), and all methods give the same; all ranks get the same bits also of sums of
/// floats, which depend on the addends and: flat, on the number of ranks, in the order of
/// Note [Schedules]; by hosts, on how many hosts there are, in the order of their lowest ranks, and
/// how many ranks each has. In lane l a host adds in the order of its ranks l, l+1, …, 0, …, l-1,
/// and hosts are added in the order of Note [Schedules].
///
/// All ranks make and use it alike; one thread at a time. Nothing is allocated after construction.
/// Throws Error when communication fails; then the job can only be aborted.
class Collectives {
 public:
  /// The most shared memory of one rank, if pieces needn't be shorter than a page for it.
  static constexpr std::size_t kMostSharedBytes = std::size_t{4} << 20;

  /// Of the memory that the ranks of `host` share.
  static std::size_t shared_bytes(const Hosts& hosts, std::size_t host, const Tuning& tuning);

  /// `memory`: what this host's ranks share, zero before; nullptr on all hosts where they don't,
  /// and all is flat. The transport and the memory must outlive it.
  Collectives(Transport& transport, Hosts hosts, std::byte* memory, const Tuning& tuning = {});
  Collectives(const Collectives&) = delete;
  Collectives& operator=(const Collectives&) = delete;

  /// In place: the sum over all ranks. Any number of elements, but the same on all ranks.
  void all_reduce(std::span<float> values, Method method);
  void all_reduce(std::span<std::int32_t> values, Method method);
  /// In place: the rank's own part becomes the sum over all ranks; the others are undefined after
  /// it. `parts`: of each rank; they don't overlap, may be empty, and are the same on all ranks.
  void reduce_scatter(std::span<float> values, std::span<const ranks::Part> parts, Method method);
  void reduce_scatter(std::span<std::int32_t> values, std::span<const ranks::Part> parts,
                      Method method);
  /// In place: each rank has written its own part, and gets the others'.
  void all_gather(std::span<float> values, std::span<const ranks::Part> parts, Method method);

  const Hosts& hosts() const { return hosts_; }
  std::size_t lanes() const { return lanes_; }
  /// Of its buffers, without the memory that ranks share.
  std::size_t bytes() const { return window_.arrivals.size(); }

  /// One of these under way, for a caller that drives several: T is float or std::uint32_t.
  template <typename T>
  class Operation;

 private:
  template <typename T>
  void run(Collective what, std::span<T> values, std::span<const ranks::Part> parts, Method method);

  static std::size_t lanes_of(const Hosts& hosts, const Tuning& tuning);
  static Boxes boxes_of(const Hosts& hosts, std::size_t host, const Tuning& tuning,
                        std::byte* memory);

  Transport& transport_;
  const Hosts hosts_;
  const Tuning tuning_;
  Pace pace_;
  std::size_t lanes_;
  std::optional<Boxes> boxes_;  ///< where hosts have shared memory
  Window window_;
  std::vector<std::uint64_t> given_, got_;   ///< pieces so far, to and from each lane
  std::uint64_t taken_ = 0, published_ = 0;  ///< pieces so far of this rank's own lane
  // Of the operation under way.
  std::vector<ranks::Part> parts_;          ///< of each lane, one for each host
  std::vector<PartWalk> to_give_, to_get_;  ///< for each lane
  std::vector<int> peers_;                  ///< ranks that own this one's lane, or all
};

}  // namespace cllm::collectives
