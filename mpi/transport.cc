#include "cllm/mpi/transport.h"

#include "cllm/mpi/checked.h"

namespace cllm::mpi {
namespace {

constexpr int kTag = 0;

}  // namespace

Transport::Transport(MPI_Comm communicator, std::size_t slots)
    : communicator_(Communicator::duplicate(communicator)),
      rank_(communicator_.rank()),
      size_(communicator_.size()),
      sends_(slots, MPI_REQUEST_NULL),
      receives_(slots, MPI_REQUEST_NULL) {}

void Transport::send(std::size_t slot, std::span<const std::byte> bytes, int to) {
  checked(MPI_Isend(bytes.data(), checked_count(bytes.size()), MPI_BYTE, to, kTag,
                    communicator_.get(), &sends_[slot]),
          "MPI_Isend");
}

void Transport::receive(std::size_t slot, std::span<std::byte> bytes, int from) {
  checked(MPI_Irecv(bytes.data(), checked_count(bytes.size()), MPI_BYTE, from, kTag,
                    communicator_.get(), &receives_[slot]),
          "MPI_Irecv");
}

bool Transport::has_sent(std::size_t slot) { return has_ended(sends_[slot]); }

bool Transport::has_received(std::size_t slot) { return has_ended(receives_[slot]); }

}  // namespace cllm::mpi
