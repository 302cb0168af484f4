#include "cllm/collectives/virtual_network.h"

#include <algorithm>
#include <utility>

#include "cllm/base/error.h"

namespace cllm::collectives {

/// One rank: its clock, its messages, and what arrived before it was asked for.
class VirtualNetwork::Endpoint final : public Transport {
 public:
  Endpoint(VirtualNetwork& network, int rank, std::size_t slots)
      : network_(network), rank_(rank), sends_(slots), receives_(slots) {}

  int rank() const override { return rank_; }
  int size() const override { return static_cast<int>(network_.ranks_.size()); }

  void send(std::size_t slot, std::span<const std::byte> bytes, int to) override {
    take_slot(sends_, slot);
    network_.send(*this, slot, bytes, to);
  }

  void receive(std::size_t slot, std::span<std::byte> bytes, int from) override {
    take_slot(receives_, slot);
    Peer& peer = peer_of(from);
    peer.posted.push_back({slot, bytes});
    match(peer);
  }

  bool has_sent(std::size_t slot) override { return look(sends_, slot); }
  bool has_received(std::size_t slot) override {
    if (!look(receives_, slot)) return false;
    clock += network_.costs_.per_message;
    return true;
  }

  bool adds(std::size_t bytes) override {
    clock += network_.costs_.per_added_byte * static_cast<double>(bytes);
    return network_.has_content_;
  }
  bool copies(std::size_t bytes) override {
    clock += network_.costs_.per_copied_byte * static_cast<double>(bytes);
    return network_.has_content_;
  }

  void end_send(std::size_t slot) { sends_[slot] = Slot::kEnded; }
  void arrived(const Message& message, std::size_t number) {
    Peer& peer = peer_of(message.from);
    peer.arrived.push_back(number);
    match(peer);
  }

  double clock = 0;
  double memory_free = 0;  ///< when what it sent within the host will have left
  bool sleeps = true;

 private:
  enum class Slot { kFree, kBusy, kEnded };
  struct Posted {
    std::size_t slot;
    std::span<std::byte> bytes;
  };
  /// What is under way from another rank; one of the two is empty.
  struct Peer {
    int rank;
    std::deque<Posted> posted;
    std::deque<std::size_t> arrived;
  };

  static void take_slot(std::vector<Slot>& slots, std::size_t slot) {
    if (slots[slot] != Slot::kFree) fail("slot {} of a virtual rank is in use", slot);
    slots[slot] = Slot::kBusy;
  }
  static bool look(std::vector<Slot>& slots, std::size_t slot) {
    if (slots[slot] != Slot::kEnded) return false;
    slots[slot] = Slot::kFree;
    return true;
  }

  Peer& peer_of(int rank) {
    const auto known = std::ranges::find(peers_, rank, &Peer::rank);
    if (known != peers_.end()) return *known;
    peers_.push_back({rank, {}, {}});
    return peers_.back();
  }

  void match(Peer& peer) {
    if (peer.posted.empty() || peer.arrived.empty()) return;
    const Posted posted = peer.posted.front();
    const std::size_t number = peer.arrived.front();
    peer.posted.pop_front();
    peer.arrived.pop_front();
    Message& message = network_.in_flight_[number];
    if (message.source.size() != posted.bytes.size()) {
      fail("virtual rank {} awaits {} bytes of rank {}, which sent {}", rank_, posted.bytes.size(),
           peer.rank, message.source.size());
    }
    if (network_.has_content_) std::ranges::copy(message.content, posted.bytes.begin());
    receives_[posted.slot] = Slot::kEnded;
    network_.free_messages_.push_back(number);
  }

  VirtualNetwork& network_;
  int rank_;
  std::vector<Slot> sends_, receives_;
  std::vector<Peer> peers_;
};

VirtualNetwork::VirtualNetwork(Hosts hosts, const Costs& costs, std::size_t slots, bool has_content)
    : hosts_(std::move(hosts)),
      costs_(costs),
      has_content_(has_content),
      link_out_free_(hosts_.count()),
      link_in_free_(hosts_.count()) {
  for (std::size_t rank = 0; rank < hosts_.all_ranks(); ++rank) {
    ranks_.push_back(std::make_unique<Endpoint>(*this, static_cast<int>(rank), slots));
  }
}

VirtualNetwork::~VirtualNetwork() = default;

Transport& VirtualNetwork::transport(int rank) { return *ranks_[static_cast<std::size_t>(rank)]; }

double VirtualNetwork::now(int rank) const { return ranks_[static_cast<std::size_t>(rank)]->clock; }

void VirtualNetwork::wait_until(int rank, double seconds) {
  double& clock = ranks_[static_cast<std::size_t>(rank)]->clock;
  clock = std::max(clock, seconds);
}

void VirtualNetwork::schedule(double time, Kind kind, std::size_t subject) {
  events_.push({time, event_count_++, kind, subject});
}

std::size_t VirtualNetwork::new_message() {
  if (free_messages_.empty()) {
    in_flight_.emplace_back();
    return in_flight_.size() - 1;
  }
  const std::size_t number = free_messages_.back();
  free_messages_.pop_back();
  return number;
}

void VirtualNetwork::send(Endpoint& from, std::size_t slot, std::span<const std::byte> bytes,
                          int to) {
  from.clock += costs_.per_message;
  ++messages_;
  bytes_ += bytes.size();
  const std::size_t number = new_message();
  Message& message = in_flight_[number];
  message.from = from.rank();
  message.to = to;
  message.slot = slot;
  message.source = bytes;
  const std::size_t host = hosts_.host_of(from.rank());
  const bool stays = hosts_.host_of(to) == host;
  const LinkCosts& link = stays ? costs_.memory : costs_.network;
  double& free = stays ? from.memory_free : link_out_free_[host];
  const double begin = std::max(from.clock, free);
  free = begin + link.per_byte * static_cast<double>(bytes.size());
  schedule(free, Kind::kLeft, number);
  if (stays) {
    schedule(free + link.latency, Kind::kArrived, number);
  } else {
    schedule(begin + link.latency, Kind::kReached, number);
  }
}

/// The last byte has left: from now on the sender may write there again.
void VirtualNetwork::leave(std::size_t number) {
  Message& message = in_flight_[number];
  if (has_content_) message.content.assign(message.source.begin(), message.source.end());
  ranks_[static_cast<std::size_t>(message.from)]->end_send(message.slot);
}

/// The first byte is at the receiver's link.
void VirtualNetwork::reach(std::size_t number, double time) {
  const Message& message = in_flight_[number];
  double& free = link_in_free_[hosts_.host_of(message.to)];
  free =
      std::max(time, free) + costs_.network.per_byte * static_cast<double>(message.source.size());
  schedule(free, Kind::kArrived, number);
}

void VirtualNetwork::arrive(std::size_t number, double time) {
  const Message& message = in_flight_[number];
  Endpoint& rank = *ranks_[static_cast<std::size_t>(message.to)];
  rank.arrived(message, number);
  wake(rank, time);
}

void VirtualNetwork::wake(Endpoint& rank, double time) {
  if (!rank.sleeps) return;
  rank.sleeps = false;
  rank.clock = std::max(rank.clock, time);
  schedule(rank.clock, Kind::kWake, static_cast<std::size_t>(rank.rank()));
}

double VirtualNetwork::run(const std::function<std::size_t(int)>& advance,
                           const std::function<bool(int)>& is_complete) {
  std::size_t left = 0;
  double end = 0;
  std::vector<bool> is_done(ranks_.size());
  const auto look_for_end = [&](std::size_t rank) {
    if (is_done[rank] || !is_complete(static_cast<int>(rank))) return;
    is_done[rank] = true;
    --left;
    end = std::max(end, ranks_[rank]->clock);
  };
  left = ranks_.size();
  for (const auto& rank : ranks_) {
    look_for_end(static_cast<std::size_t>(rank->rank()));
    rank->sleeps = true;
    wake(*rank, rank->clock);
  }
  while (left > 0) {
    if (events_.empty()) fail("{} virtual ranks wait for each other", left);
    const Event event = events_.top();
    events_.pop();
    switch (event.kind) {
      case Kind::kLeft: {
        const auto from = static_cast<std::size_t>(in_flight_[event.subject].from);
        leave(event.subject);
        wake(*ranks_[from], event.time);
        break;
      }
      case Kind::kReached:
        reach(event.subject, event.time);
        break;
      case Kind::kArrived:
        arrive(event.subject, event.time);
        break;
      case Kind::kWake: {
        Endpoint& rank = *ranks_[event.subject];
        rank.sleeps = true;
        if (is_done[event.subject]) break;
        if (advance(rank.rank()) > 0) {
          wake(rank, rank.clock);
          // What it put into shared memory, others may wait for.
          for (const int beside : hosts_.ranks_of(hosts_.host_of(rank.rank()))) {
            wake(*ranks_[static_cast<std::size_t>(beside)], rank.clock);
          }
        }
        look_for_end(event.subject);
        break;
      }
    }
  }
  return end;
}

}  // namespace cllm::collectives
