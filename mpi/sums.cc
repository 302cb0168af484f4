#include "cllm/mpi/sums.h"

#include <utility>
#include <vector>

#include "cllm/mpi/checked.h"

namespace cllm::mpi {

collectives::Hosts hosts_of(MPI_Comm communicator, MPI_Comm beside) {
  int lowest = Communicator::rank_in(communicator);  // a host is known by it
  checked(MPI_Bcast(&lowest, 1, MPI_INT, 0, beside), "MPI_Bcast");
  std::vector<int> all(static_cast<std::size_t>(Communicator::size_of(communicator)));
  checked(MPI_Allgather(&lowest, 1, MPI_INT, all.data(), 1, MPI_INT, communicator),
          "MPI_Allgather");
  return collectives::Hosts(all);
}

Sums::Sums(MPI_Comm communicator, bool by_hosts, const collectives::Tuning& tuning)
    : beside_(Communicator::of_host(communicator)), transport_(communicator, tuning.in_flight) {
  collectives::Hosts hosts = hosts_of(communicator, beside_.get());
  if (by_hosts && hosts.most_ranks() > 1) {
    // Last of what ranks do together, because it may fail on one host and not on another.
    memory_.emplace(beside_.get(), collectives::Collectives::shared_bytes(
                                       hosts, hosts.host_of(transport_.rank()), tuning));
  }
  collectives_.emplace(transport_, std::move(hosts), memory_ ? memory_->data() : nullptr, tuning);
}

std::uint64_t Sums::bytes() const {
  const auto beside = static_cast<std::uint64_t>(beside_.size());
  return collectives_->bytes() + (memory_ ? memory_->size() / beside : 0);
}

}  // namespace cllm::mpi
