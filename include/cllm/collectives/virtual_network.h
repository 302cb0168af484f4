#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <queue>
#include <span>
#include <utility>
#include <vector>

#include "cllm/collectives/costs.h"
#include "cllm/collectives/hosts.h"
#include "cllm/collectives/transport.h"

namespace cllm::collectives {

// Note [One host for all]
// Where every host does the same at the same time, one of them shows what all do: what the host h
// places ahead gets of it at some time, it gets itself at that time from the host h places behind.
// So the first host alone is simulated, its ranks running the code that all run, and what they send
// to others comes back to them as if from those. A sum over a thousand hosts is then no more work
// than its messages on one of them.
//
// Hosts are alike if they have as many ranks each and parts are of one size. By the ring all then
// do the same. By halving they do but for one thing: where the parts that a rank sends in a round
// go past the end of the array, they are two stretches, and one more message. That of the first
// host never do, so that its time may be the shorter by what a message takes in each round.

/// What of a virtual network is simulated.
enum class Simulated {
  kAll,      ///< ranks, and what they compute
  kTimes,    ///< ranks; memory is never touched, nothing is added or copied, only time is told
  kOneHost,  ///< the same, of the first host's ranks alone: Note [One host for all]
};

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
/// receive, where a slot is used that isn't free, or where one of unlike hosts is to stand for all.
/// One thread at a time.
class VirtualNetwork {
 public:
  /// `slots`: of each rank's transport, each way.
  VirtualNetwork(Hosts hosts, const Costs& costs, std::size_t slots,
                 Simulated what = Simulated::kAll);
  VirtualNetwork(const VirtualNetwork&) = delete;
  VirtualNetwork& operator=(const VirtualNetwork&) = delete;
  ~VirtualNetwork();

  /// The ranks that are simulated: all, or those of the first host.
  const std::vector<int>& ranks() const { return simulated_; }
  /// Of one of them; lives as long as the network.
  Transport& transport(int rank);

  /// Drives all of them to their ends: advance(rank) does what a rank can do without waiting, and
  /// returns how much that was. Returns the time at which the last was complete. Time goes on from
  /// where it was; each rank begins where it ended.
  double run(const std::function<std::size_t(int)>& advance,
             const std::function<bool(int)>& is_complete);

  /// The rank's own clock, in seconds from 0; and makes it at least that, as where it computed.
  double now(int rank) const;
  void wait_until(int rank, double seconds);
  /// Seconds so far that the rank's thread was busy: with messages, additions and copies.
  double busy(int rank) const;

  /// All messages so far of the ranks that are simulated, and their bytes.
  std::uint64_t messages() const { return messages_; }
  std::uint64_t bytes() const { return bytes_; }

 private:
  class Endpoint;
  struct Message {
    int sender = 0;        ///< the rank that sends it
    int from = 0, to = 0;  ///< as its receiver sees it
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

  Endpoint& endpoint(int rank) const { return *ranks_[static_cast<std::size_t>(rank)]; }
  void schedule(double time, Kind kind, std::size_t subject);
  Event next();
  std::size_t new_message();
  std::pair<int, int> as_received(int from, int to) const;
  void send(Endpoint& from, std::size_t slot, std::span<const std::byte> bytes, int to);
  void leave(std::size_t number);
  void reach(std::size_t number, double time);
  void arrive(std::size_t number, double time);
  void wake(Endpoint& rank, double time);

  const Hosts hosts_;
  const Costs costs_;
  const Simulated what_;
  std::vector<int> simulated_;
  std::vector<std::unique_ptr<Endpoint>> ranks_;      ///< none of those that aren't
  std::vector<double> link_out_free_, link_in_free_;  ///< when each host's link is
  std::vector<Message> in_flight_;
  std::vector<std::size_t> free_messages_;
  std::priority_queue<Event> events_;
  std::optional<Event> first_;  ///< one that comes before all of these
  std::uint64_t event_count_ = 0, messages_ = 0, bytes_ = 0;
};

}  // namespace cllm::collectives
