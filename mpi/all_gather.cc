#include "cllm/mpi/all_gather.h"

#include <algorithm>

#include "cllm/collectives/pace.h"
#include "cllm/mpi/checked.h"
#include "cllm/mpi/communicator.h"
#include "cllm/ranks/heartbeat.h"

namespace cllm::mpi {
namespace {

/// As the ring's: the best for links of all kinds.
constexpr int kShortestSleep = 50, kLongestSleep = 500;

/// Returns once what was begun has ended; sleeps between looks.
void wait_for(MPI_Request& request) {
  collectives::Pace pace(kShortestSleep, kLongestSleep);
  pace.restart();
  while (!has_ended(request)) pace.rest(false);
  ranks::heartbeat().progress();
}

}  // namespace

AllGather::AllGather(MPI_Comm communicator, std::size_t longest, std::size_t furthest)
    : communicator_(communicator),
      longest_(longest),
      furthest_(furthest),
      counts_(static_cast<std::size_t>(Communicator::size_of(communicator))),
      offsets_(counts_.size()) {}

void AllGather::run(std::span<float> values, std::span<const ranks::Part> parts) {
  std::size_t begin = values.size(), end = 0, longest = 0;
  for (const ranks::Part& part : parts) {
    if (part.size == 0) continue;
    begin = std::min(begin, part.offset);
    end = std::max(end, part.offset + part.size);
    longest = std::max(longest, part.size);
  }
  if (longest == 0) return;
  if (end - begin > furthest_) return in_turns(values, parts);
  for (std::size_t first = 0; first < longest; first += longest_) {
    for (std::size_t rank = 0; rank < parts.size(); ++rank) {
      const std::size_t skipped = std::min(first, parts[rank].size);
      counts_[rank] = static_cast<int>(std::min(longest_, parts[rank].size - skipped));
      offsets_[rank] =
          counts_[rank] == 0 ? 0 : static_cast<int>(parts[rank].offset + skipped - begin);
    }
    MPI_Request request = MPI_REQUEST_NULL;
    checked(MPI_Iallgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, values.data() + begin,
                            counts_.data(), offsets_.data(), MPI_FLOAT, communicator_, &request),
            "MPI_Iallgatherv");
    wait_for(request);
  }
}

/// Rank by rank, in pieces.
void AllGather::in_turns(std::span<float> values, std::span<const ranks::Part> parts) {
  for (std::size_t rank = 0; rank < parts.size(); ++rank) {
    for (std::size_t first = 0; first < parts[rank].size; first += longest_) {
      const std::size_t count = std::min(longest_, parts[rank].size - first);
      MPI_Request request = MPI_REQUEST_NULL;
      checked(MPI_Ibcast(values.data() + parts[rank].offset + first, static_cast<int>(count),
                         MPI_FLOAT, static_cast<int>(rank), communicator_, &request),
              "MPI_Ibcast");
      wait_for(request);
    }
  }
}

}  // namespace cllm::mpi
