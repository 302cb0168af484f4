#pragma once

#include <mpi.h>

#include <cstdint>
#include <optional>

#include "cllm/collectives/collectives.h"
#include "cllm/mpi/communicator.h"
#include "cllm/mpi/shared_memory.h"
#include "cllm/mpi/transport.h"

namespace cllm::mpi {

/// Which ranks of a communicator share a host. `beside`: those of this one's, in the same order.
collectives::Hosts hosts_of(MPI_Comm communicator, MPI_Comm beside);

/// Sums among the ranks of a communicator, with what carries them: messages over MPI, and on hosts
/// of several ranks memory that they share. All ranks make and destroy it alike.
class Sums {
 public:
  /// `by_hosts`: with shared memory. Throws Error, on all ranks of a host alike, where they can't
  /// share it.
  Sums(MPI_Comm communicator, bool by_hosts, const collectives::Tuning& tuning = {});
  Sums(const Sums&) = delete;
  Sums& operator=(const Sums&) = delete;

  collectives::Collectives& operator*() { return *collectives_; }
  collectives::Collectives* operator->() { return &*collectives_; }
  Transport& transport() { return transport_; }
  /// Of its buffers, and of this rank's share of the memory that the host's ranks share.
  std::uint64_t bytes() const;

 private:
  Communicator beside_;
  Transport transport_;
  std::optional<SharedMemory> memory_;
  std::optional<collectives::Collectives> collectives_;
};

}  // namespace cllm::mpi
