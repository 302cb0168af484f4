#pragma once

#include <mpi.h>

#include <cstddef>
#include <span>

#include "cllm/mpi/communicator.h"
#include "cllm/ranks/courier.h"

namespace cllm::mpi {

/// Messages in a communicator of their own. Made and freed by all ranks together.
class Courier final : public ranks::Courier {
 public:
  explicit Courier(MPI_Comm communicator);

  void send(int to, std::span<const std::byte> bytes) override;
  void receive(int from, std::span<std::byte> bytes) override;

 private:
  Communicator communicator_;
};

}  // namespace cllm::mpi
