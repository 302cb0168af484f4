#pragma once

#include <cstddef>
#include <span>

namespace cllm::ranks {

/// Messages between rank 0 and the other ranks beside what all ranks do together: for one thread of
/// each rank, which may be another than those that use the process group. Waits asleep, and leaves
/// the processors to others. Throws Error when communication fails; what was being sent must then
/// stay alive until the job has been aborted.
class Courier {
 public:
  virtual ~Courier() = default;

  /// Returns once the bytes may be used for something else.
  virtual void send(int to, std::span<const std::byte> bytes) = 0;
  /// Messages of a rank come in the order in which it sent them, each of just this size.
  virtual void receive(int from, std::span<std::byte> bytes) = 0;
};

}  // namespace cllm::ranks
