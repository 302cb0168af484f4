#include "cllm/mpi/world.h"

#include <fmt/core.h>
#include <mpi.h>

#include <algorithm>
#include <cstdio>
#include <exception>
#include <limits>
#include <numeric>
#include <string_view>

#include "cllm/base/error.h"
#include "cllm/base/output.h"
#include "cllm/mpi/checked.h"
#include "cllm/ranks/agreement.h"
#include "cllm/ranks/heartbeat.h"

namespace cllm::mpi {
namespace {

/// Elements of one call: MPI counts in int, and a call of this size is long past its latency.
constexpr std::size_t kMostElements = std::size_t{1} << 22;

int checked_count(std::size_t count) {
  if (count > static_cast<std::size_t>(std::numeric_limits<int>::max())) {
    fail("a message of {} bytes is more than MPI can count", count);
  }
  return static_cast<int>(count);
}

template <typename T>
void all_reduce_in_pieces(std::span<T> values, MPI_Datatype type) {
  for (std::size_t first = 0; first < values.size(); first += kMostElements) {
    const std::size_t count = std::min(kMostElements, values.size() - first);
    checked(MPI_Allreduce(MPI_IN_PLACE, values.data() + first, checked_count(count), type, MPI_SUM,
                          MPI_COMM_WORLD),
            "MPI_Allreduce");
    ranks::heartbeat().progress();
  }
}

}  // namespace

World::World()
    : rank_(Communicator::rank_in(MPI_COMM_WORLD)),
      size_(Communicator::size_of(MPI_COMM_WORLD)),
      all_gather_(MPI_COMM_WORLD) {}

void World::use(ranks::Allreduce method) {
  ring_.reset();
  host_ring_.reset();
  if (size_ == 1) return;
  if (method == ranks::Allreduce::kRing) use_hosts();
  if (method == ranks::Allreduce::kFlat) ring_.emplace(MPI_COMM_WORLD);
}

/// By hosts where a host has several ranks and they can share memory, else by one ring.
void World::use_hosts() {
  const Communicator beside = Communicator::of_host(MPI_COMM_WORLD);
  int here = beside.size(), most = 0;
  checked(MPI_Allreduce(&here, &most, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD), "MPI_Allreduce");
  if (most > 1) {
    try {
      return ranks::in_agreement(*this, [&] { host_ring_.emplace(MPI_COMM_WORLD, beside.get()); });
    } catch (const ReplicatedError& error) {
      if (rank_ == 0 && !has_warned_) {
        put(stderr, fmt::format("warning: {}; until then --allreduce is flat, which is slower\n",
                                error.what()));
      }
      has_warned_ = true;
    }
  }
  host_ring_.reset();
  ring_.emplace(MPI_COMM_WORLD);
}

std::uint64_t World::buffer_bytes() const {
  return (ring_ ? ring_->bytes() : 0) + (host_ring_ ? host_ring_->bytes() : 0);
}

template <typename T>
void World::all_reduce_by_method(std::span<T> values, MPI_Datatype type) {
  const ranks::Exchange exchange("a sum");
  if (host_ring_) {
    host_ring_->all_reduce(values);
  } else if (ring_) {
    ring_->all_reduce(values);
  } else if (size_ > 1) {
    all_reduce_in_pieces(values, type);
  }
}

void World::all_reduce(std::span<float> values) { all_reduce_by_method(values, MPI_FLOAT); }

// Unsigned, because nobody promises how signed integers overflow.
void World::all_reduce(std::span<std::int32_t> values) {
  all_reduce_by_method(values, MPI_UINT32_T);
}

void World::all_reduce(std::span<std::int64_t> values) {
  const ranks::Exchange exchange("a sum");
  if (size_ > 1) all_reduce_in_pieces(values, MPI_INT64_T);
}

std::string World::broadcast(std::string bytes) {
  const ranks::Exchange exchange("what rank 0 tells all");
  if (size_ == 1) return bytes;
  std::uint64_t size = bytes.size();
  checked(MPI_Bcast(&size, 1, MPI_UINT64_T, 0, MPI_COMM_WORLD), "MPI_Bcast");
  bytes.resize(size);
  for (std::size_t first = 0; first < size; first += kMostElements) {
    const std::size_t count = std::min(kMostElements, size - first);
    checked(MPI_Bcast(bytes.data() + first, checked_count(count), MPI_CHAR, 0, MPI_COMM_WORLD),
            "MPI_Bcast");
    ranks::heartbeat().progress();
  }
  return bytes;
}

std::vector<std::string> World::all_gather(const std::string& bytes) {
  const ranks::Exchange exchange("what each rank tells all");
  if (size_ == 1) return {bytes};
  const auto ranks = static_cast<std::size_t>(size_);
  int size = checked_count(bytes.size());
  std::vector<int> sizes(ranks), offsets(ranks);
  checked(MPI_Allgather(&size, 1, MPI_INT, sizes.data(), 1, MPI_INT, MPI_COMM_WORLD),
          "MPI_Allgather");
  std::exclusive_scan(sizes.begin(), sizes.end(), offsets.begin(), 0);
  std::string all(static_cast<std::size_t>(offsets.back() + sizes.back()), '\0');
  checked(MPI_Allgatherv(bytes.data(), size, MPI_CHAR, all.data(), sizes.data(), offsets.data(),
                         MPI_CHAR, MPI_COMM_WORLD),
          "MPI_Allgatherv");
  std::vector<std::string> result;
  for (std::size_t r = 0; r < ranks; ++r) {
    result.push_back(
        all.substr(static_cast<std::size_t>(offsets[r]), static_cast<std::size_t>(sizes[r])));
  }
  return result;
}

void World::all_gather(std::span<float> values, std::span<const ranks::Part> parts) {
  const ranks::Exchange exchange("parts that each rank sends all");
  if (size_ > 1) all_gather_.run(values, parts);
}

void World::gather(const std::string& bytes, const Take& take) {
  const ranks::Exchange exchange("what each rank tells rank 0");
  constexpr int kTag = 0;
  const auto for_each_piece = [](std::uint64_t size, const auto& visit) {
    for (std::uint64_t first = 0; first < size; first += kMostElements) {
      visit(first, static_cast<int>(std::min<std::uint64_t>(kMostElements, size - first)));
      ranks::heartbeat().progress();
    }
  };
  if (rank_ != 0) {
    const std::uint64_t size = bytes.size();
    checked(MPI_Send(&size, 1, MPI_UINT64_T, 0, kTag, MPI_COMM_WORLD), "MPI_Send");
    for_each_piece(size, [&](std::uint64_t first, int count) {
      checked(MPI_Send(bytes.data() + first, count, MPI_CHAR, 0, kTag, MPI_COMM_WORLD), "MPI_Send");
    });
    return;
  }
  std::exception_ptr problem;
  const auto try_to_take = [&](int rank, std::string_view piece) {
    try {
      if (!problem) take(rank, piece);
    } catch (...) {
      problem = std::current_exception();  // the others would wait for ever
    }
  };
  try_to_take(0, bytes);
  std::string piece;
  for (int rank = 1; rank < size_; ++rank) {
    std::uint64_t size = 0;
    checked(MPI_Recv(&size, 1, MPI_UINT64_T, rank, kTag, MPI_COMM_WORLD, MPI_STATUS_IGNORE),
            "MPI_Recv");
    piece.resize(std::min<std::uint64_t>(size, kMostElements));
    for_each_piece(size, [&](std::uint64_t, int count) {
      checked(
          MPI_Recv(piece.data(), count, MPI_CHAR, rank, kTag, MPI_COMM_WORLD, MPI_STATUS_IGNORE),
          "MPI_Recv");
      try_to_take(rank, std::string_view(piece).substr(0, static_cast<std::size_t>(count)));
    });
  }
  if (problem) std::rethrow_exception(problem);
}

}  // namespace cllm::mpi
