#pragma once

#include <cstddef>
#include <span>

namespace cllm::collectives {

/// Messages between ranks, as what sums them up needs them: mpi::Transport over MPI,
/// VirtualNetwork on a clock of its own. Nothing waits: what is under way is looked at again.
///
/// A message is known by a slot, of which there is a fixed number each way, and which is free again
/// once the message has ended. Messages from one rank to another arrive in the order in which they
/// were sent, into receives in the order in which these were posted, of the same length. One thread
/// at a time. What is sent or received must stay until it has ended. Throws Error when
/// communication fails.
class Transport {
 public:
  virtual ~Transport() = default;

  virtual int rank() const = 0;
  virtual int size() const = 0;

  virtual void send(std::size_t slot, std::span<const std::byte> bytes, int to) = 0;
  virtual void receive(std::size_t slot, std::span<std::byte> bytes, int from) = 0;
  virtual bool has_sent(std::size_t slot) = 0;
  virtual bool has_received(std::size_t slot) = 0;

  /// Told before that many bytes are added to others, or copied in memory. Whether that is to be
  /// done: not where memory has no content and the time that it takes is all that counts.
  virtual bool adds(std::size_t /*bytes*/) { return true; }
  virtual bool copies(std::size_t /*bytes*/) { return true; }
};

}  // namespace cllm::collectives
