#pragma once

#include <mpi.h>

#include <cstddef>
#include <span>
#include <vector>

#include "cllm/collectives/transport.h"
#include "cllm/mpi/communicator.h"

namespace cllm::mpi {

/// Messages over MPI, on a duplicate of a communicator. All of its ranks make and destroy it alike.
/// Nothing of ours is allocated after construction.
class Transport final : public collectives::Transport {
 public:
  /// `slots`: messages under way, each way.
  Transport(MPI_Comm communicator, std::size_t slots);

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  void send(std::size_t slot, std::span<const std::byte> bytes, int to) override;
  void receive(std::size_t slot, std::span<std::byte> bytes, int from) override;
  bool has_sent(std::size_t slot) override;
  bool has_received(std::size_t slot) override;

 private:
  Communicator communicator_;
  int rank_, size_;
  std::vector<MPI_Request> sends_, receives_;
};

}  // namespace cllm::mpi
