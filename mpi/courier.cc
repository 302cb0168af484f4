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

/// start(first, count, request) begins to carry a piece of so many bytes; each is waited for.
template <typename Start>
void in_pieces(std::size_t size, const Start& start) {
  for (std::size_t first = 0; first < size; first += kMostBytes) {
    MPI_Request request = MPI_REQUEST_NULL;
    start(first, checked_count(std::min(kMostBytes, size - first)), &request);
    collectives::Pace pace(kShortestSleep, kLongestSleep);
    pace.restart();
    while (!has_ended(request)) pace.rest(false);
  }
}

}  // namespace

Courier::Courier(MPI_Comm communicator) : communicator_(Communicator::duplicate(communicator)) {}

void Courier::send(int to, std::span<const std::byte> bytes) {
  in_pieces(bytes.size(), [&](std::size_t first, int count, MPI_Request* request) {
    checked(
        MPI_Isend(bytes.data() + first, count, MPI_BYTE, to, kTag, communicator_.get(), request),
        "MPI_Isend");
  });
}

void Courier::receive(int from, std::span<std::byte> bytes) {
  in_pieces(bytes.size(), [&](std::size_t first, int count, MPI_Request* request) {
    checked(
        MPI_Irecv(bytes.data() + first, count, MPI_BYTE, from, kTag, communicator_.get(), request),
        "MPI_Irecv");
  });
}

}  // namespace cllm::mpi
