#include "cllm/mpi/courier.h"

#include <algorithm>

#include "cllm/collectives/pace.h"
#include "cllm/mpi/checked.h"

namespace cllm::mpi {
namespace {

constexpr int kTag = 0;

/// Of sleeps, in microseconds. Nobody is in a hurry: it goes on beside training.
constexpr int kShortestSleep = 50, kLongestSleep = 2000;

/// Bytes of one message of MPI, which counts them in int.
constexpr std::size_t kMostBytes = std::size_t{1} << 20;

void wait_for(MPI_Request& request) {
  collectives::Pace pace(kShortestSleep, kLongestSleep);
  pace.restart();
  while (!has_ended(request)) pace.rest(false);
}

}  // namespace

Courier::Courier(MPI_Comm communicator) : communicator_(Communicator::duplicate(communicator)) {}

void Courier::send(int to, std::span<const std::byte> bytes) {
  for (std::size_t first = 0; first < bytes.size(); first += kMostBytes) {
    const auto piece = bytes.subspan(first, std::min(kMostBytes, bytes.size() - first));
    MPI_Request request = MPI_REQUEST_NULL;
    checked(MPI_Isend(piece.data(), checked_count(piece.size()), MPI_BYTE, to, kTag,
                      communicator_.get(), &request),
            "MPI_Isend");
    wait_for(request);
  }
}

void Courier::receive(int from, std::span<std::byte> bytes) {
  for (std::size_t first = 0; first < bytes.size(); first += kMostBytes) {
    const auto piece = bytes.subspan(first, std::min(kMostBytes, bytes.size() - first));
    MPI_Request request = MPI_REQUEST_NULL;
    checked(MPI_Irecv(piece.data(), checked_count(piece.size()), MPI_BYTE, from, kTag,
                      communicator_.get(), &request),
            "MPI_Irecv");
    wait_for(request);
  }
}

}  // namespace cllm::mpi
