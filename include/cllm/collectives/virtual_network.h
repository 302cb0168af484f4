#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <queue>
#include <span>
#include <vector>

#include "cllm/collectives/costs.h"
#include "cllm/collectives/hosts.h"
#include "cllm/collectives/transport.h"

namespace cllm::collectives {

/// Many ranks in one process, on a virtual clock: a discrete-event simulation of what their
/// messages and additions take. The ranks run the code that runs over MPI, as state machines that
/// are driven in turn. The same calls give the same seconds, to the bit.
///
/// A host has one link, full duplex: what its ranks send leaves one after the other, and so comes
/// what they receive. A message is cut through: its first byte is there after the latency, its last
/// when it has left and the receiver's link was free. A rank has one thread, which is busy for
/// per_message, per_added_byte and per_copied_byte, and is woken when something came. Switches and
/// buffers are without limit. Ranks of a host send each other messages at the costs of memory, each
/// one at a time.
///
/// Throws Error where ranks wait for each other, where a message has another length than its
/// receive, or where a slot is used that isn't free. One thread at a time.
class VirtualNetwork {
 public:
  /// `slots`: of each rank's transport, each way. Without `has_content`, memory is never touched,
  /// nothing is added or copied, and only time is told.
  VirtualNetwork(Hosts hosts, const Costs& costs, std::size_t slots, bool has_content = true);
  VirtualNetwork(const VirtualNetwork&) = delete;
  VirtualNetwork& operator=(const VirtualNetwork&) = delete;
  ~VirtualNetwork();

  /// Of one rank; lives as long as the network.
  Transport& transport(int rank);

  /// Drives all ranks to their ends: advance(rank) does what a rank can do without waiting, and
  /// returns how much that was. Returns the time at which the last was complete. Time goes on from
  /// where it was; each rank begins where it ended.
  double run(const std::function<std::size_t(int)>& advance,
             const std::function<bool(int)>& is_complete);

  /// The rank's own clock, in seconds from 0; and makes it at least that, as where it computed.
  double now(int rank) const;
  void wait_until(int rank, double seconds);

  /// All messages so far, and their bytes.
  std::uint64_t messages() const { return messages_; }
  std::uint64_t bytes() const { return bytes_; }

 private:
  class Endpoint;
  struct Message {
    int from = 0, to = 0;
    std::size_t slot = 0;
    std::span<const std::byte> source;
    std::vector<std::byte> content;
  };
  /// What happens: `subject` is a message's number, or a rank where it wakes.
  enum class Kind { kWake, kLeft, kReached, kArrived };
  struct Event {
    double time;
    std::uint64_t number;  ///< of two at one time, the first comes first
    Kind kind;
    std::size_t subject;
    bool operator<(const Event& other) const {  // the earliest is the largest
      return time != other.time ? time > other.time : number > other.number;
    }
  };

  void schedule(double time, Kind kind, std::size_t subject);
  std::size_t new_message();
  void send(Endpoint& from, std::size_t slot, std::span<const std::byte> bytes, int to);
  void leave(std::size_t number);
  void reach(std::size_t number, double time);
  void arrive(std::size_t number, double time);
  void wake(Endpoint& rank, double time);

  const Hosts hosts_;
  const Costs costs_;
  const bool has_content_;
  std::vector<std::unique_ptr<Endpoint>> ranks_;
  std::vector<double> link_out_free_, link_in_free_;  ///< when each host's link is
  std::vector<Message> in_flight_;
  std::vector<std::size_t> free_messages_;
  std::priority_queue<Event> events_;
  std::uint64_t event_count_ = 0, messages_ = 0, bytes_ = 0;
};

}  // namespace cllm::collectives
