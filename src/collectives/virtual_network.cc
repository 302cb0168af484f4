#include "cllm/collectives/virtual_network.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "cllm/base/error.h"

namespace cllm::collectives {
namespace {

/// What waits in line. Its memory is used again once the line is empty.
template <typename T>
class Line {
 public:
  bool empty() const { return first_ == values_.size(); }
  const T& front() const { return values_[first_]; }
  void push(const T& value) { values_.push_back(value); }
  void pop() {
    if (++first_ < values_.size()) return;
    values_.clear();
    first_ = 0;
  }

 private:
  std::vector<T> values_;
  std::size_t first_ = 0;
};

}  // namespace

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
    peer.posted.push({slot, bytes});
    match(peer);
  }

  bool has_sent(std::size_t slot) override { return look(sends_, slot); }
  bool has_received(std::size_t slot) override {
    if (!look(receives_, slot)) return false;
    be_busy(network_.costs_.per_message);
    return true;
  }

  bool adds(std::size_t bytes) override {
    be_busy(network_.costs_.per_added_byte * static_cast<double>(bytes));
    return network_.what_ == Simulated::kAll;
  }
  bool copies(std::size_t bytes) override {
    be_busy(network_.costs_.per_copied_byte * static_cast<double>(bytes));
    return network_.what_ == Simulated::kAll;
  }

  void end_send(std::size_t slot) { sends_[slot] = Slot::kEnded; }
  void arrived(const Message& message, std::size_t number) {
    Peer& peer = peer_of(message.from);
    peer.arrived.push(number);
    match(peer);
  }

  void be_busy(double seconds) {
    clock += seconds;
    busy += seconds;
  }

  double clock = 0, busy = 0;
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
    Line<Posted> posted;
    Line<std::size_t> arrived;
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
    peer.posted.pop();
    peer.arrived.pop();
    Message& message = network_.in_flight_[number];
    if (message.source.size() != posted.bytes.size()) {
      fail("virtual rank {} awaits {} bytes of rank {}, which sent {}", rank_, posted.bytes.size(),
           peer.rank, message.source.size());
    }
    if (network_.what_ == Simulated::kAll) std::ranges::copy(message.content, posted.bytes.begin());
    receives_[posted.slot] = Slot::kEnded;
    network_.free_messages_.push_back(number);
  }

  VirtualNetwork& network_;
  int rank_;
  std::vector<Slot> sends_, receives_;
  std::vector<Peer> peers_;
};

VirtualNetwork::VirtualNetwork(Hosts hosts, const Costs& costs, std::size_t slots, Simulated what)
    : hosts_(std::move(hosts)),
      costs_(costs),
      what_(what),
      ranks_(hosts_.all_ranks()),
      link_out_free_(hosts_.count()),
      link_in_free_(hosts_.count()) {
  if (what == Simulated::kOneHost && hosts_.fewest_ranks() != hosts_.most_ranks()) {
    fail("one virtual host can't stand for all, which have from {} to {} ranks",
         hosts_.fewest_ranks(), hosts_.most_ranks());
  }
  for (std::size_t host = 0; host < (what == Simulated::kOneHost ? 1 : hosts_.count()); ++host) {
    for (const int rank : hosts_.ranks_of(host)) simulated_.push_back(rank);
  }
  std::ranges::sort(simulated_);
  for (const int rank : simulated_) {
    ranks_[static_cast<std::size_t>(rank)] = std::make_unique<Endpoint>(*this, rank, slots);
  }
}

VirtualNetwork::~VirtualNetwork() = default;

Transport& VirtualNetwork::transport(int rank) { return endpoint(rank); }

double VirtualNetwork::now(int rank) const { return endpoint(rank).clock; }

double VirtualNetwork::busy(int rank) const { return endpoint(rank).busy; }

void VirtualNetwork::wait_until(int rank, double seconds) {
  double& clock = endpoint(rank).clock;
  clock = std::max(clock, seconds);
}

/// Most events are followed by one that comes before all others, so that one waits beside the
/// queue, which it would have to pass through.
void VirtualNetwork::schedule(double time, Kind kind, std::size_t subject) {
  const Event event = {time, event_count_++, kind, subject};
  const bool is_first = first_ ? time < first_->time : events_.empty() || time < events_.top().time;
  if (!is_first) return events_.push(event);
  if (first_) events_.push(*first_);
  first_ = event;
}

VirtualNetwork::Event VirtualNetwork::next() {
  if (first_) return *std::exchange(first_, std::nullopt);
  const Event event = events_.top();
  events_.pop();
  return event;
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

/// Sender and receiver of a message, as the rank sees it that gets it in the simulation.
std::pair<int, int> VirtualNetwork::as_received(int from, int to) const {
  const std::size_t ahead = hosts_.host_of(to);
  if (what_ != Simulated::kOneHost || ahead == 0) return {from, to};
  return {hosts_.ranks_of(hosts_.count() - ahead)[hosts_.number_of(from)],
          hosts_.ranks_of(0)[hosts_.number_of(to)]};
}

void VirtualNetwork::send(Endpoint& from, std::size_t slot, std::span<const std::byte> bytes,
                          int to) {
  from.be_busy(costs_.per_message);
  ++messages_;
  bytes_ += bytes.size();
  const std::size_t number = new_message();
  Message& message = in_flight_[number];
  message.sender = from.rank();
  std::tie(message.from, message.to) = as_received(from.rank(), to);
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
  if (what_ == Simulated::kAll) {
    message.content.assign(message.source.begin(), message.source.end());
  }
  endpoint(message.sender).end_send(message.slot);
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
  Endpoint& rank = endpoint(message.to);
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
  double end = 0;
  std::size_t left = simulated_.size();
  std::vector<bool> is_done(ranks_.size());
  const auto look_for_end = [&](int rank) {
    const auto r = static_cast<std::size_t>(rank);
    if (is_done[r] || !is_complete(rank)) return;
    is_done[r] = true;
    --left;
    end = std::max(end, ranks_[r]->clock);
  };
  for (const int rank : simulated_) {
    look_for_end(rank);
    endpoint(rank).sleeps = true;
    wake(endpoint(rank), endpoint(rank).clock);
  }
  while (left > 0) {
    if (events_.empty() && !first_) fail("{} virtual ranks wait for each other", left);
    const Event event = next();
    switch (event.kind) {
      case Kind::kLeft: {
        Endpoint& sender = endpoint(in_flight_[event.subject].sender);
        leave(event.subject);
        wake(sender, event.time);
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
            wake(endpoint(beside), rank.clock);
          }
        }
        look_for_end(rank.rank());
        break;
      }
    }
  }
  return end;
}

}  // namespace cllm::collectives
