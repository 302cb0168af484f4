#include "cllm/mpi/world.h"

#include <fmt/core.h>
#include <mpi.h>

#include <algorithm>
#include <cstdio>
#include <exception>
#include <numeric>
#include <string_view>
#include <type_traits>
#include <utility>

#include "cllm/base/error.h"
#include "cllm/base/output.h"
#include "cllm/mpi/checked.h"
#include "cllm/mpi/courier.h"
#include "cllm/mpi/probe.h"
#include "cllm/ranks/agreement.h"
#include "cllm/ranks/heartbeat.h"

namespace cllm::mpi {
namespace {

/// Elements of one call: MPI counts in int, and a call of this size is long past its latency.
constexpr std::size_t kMostElements = std::size_t{1} << 22;

template <typename T>
std::size_t bytes_of(std::span<const ranks::Part> parts) {
  std::size_t elements = 0;
  for (const ranks::Part& part : parts) elements += part.size;
  return elements * sizeof(T);
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
  using ranks::Allreduce;
  sums_.reset();
  choice_.reset();
  costs_.reset();
  sums_text_.clear();
  if (size_ == 1 || method == Allreduce::kMpi) return;
  method_ = {.pattern = method == Allreduce::kHalving ? collectives::Pattern::kHalving
                                                      : collectives::Pattern::kRing,
             .by_hosts = method != Allreduce::kFlat};
  if (method_.by_hosts) {
    try {
      ranks::in_agreement(*this, [&] { sums_.emplace(MPI_COMM_WORLD, true); });
      if (method == Allreduce::kAuto) choose();
      return;
    } catch (const ReplicatedError& error) {
      if (rank_ == 0 && !has_warned_) {
        put(stderr, fmt::format("warning: {}; until then --allreduce is flat, which is slower\n",
                                error.what()));
      }
      has_warned_ = true;
    }
  }
  sums_.reset();
  sums_.emplace(MPI_COMM_WORLD, false);
}

void World::choose() {
  const ranks::Exchange exchange("a measurement of messages");
  const collectives::Hosts& hosts = (*sums_)->hosts();
  const collectives::Cluster cluster = {
      .hosts = hosts.count(), .ranks = hosts.most_ranks(), .lanes = (*sums_)->lanes()};
  costs_ = measure_costs(sums_->transport(), hosts, MPI_COMM_WORLD);
  choice_ = collectives::choose(cluster, *costs_);
  sums_text_ = collectives::text_of(*choice_, cluster, *costs_);
}

collectives::Method World::method(std::size_t bytes, bool rounds) const {
  if (!choice_ || rounds) return method_;
  return {.pattern = choice_->pattern(bytes), .by_hosts = true};
}

std::uint64_t World::buffer_bytes() const { return sums_ ? sums_->bytes() : scattered_.size(); }

template <typename T>
void World::all_reduce_by_method(std::span<T> values, MPI_Datatype type) {
  const ranks::Exchange exchange("a sum");
  if (sums_) {
    (*sums_)->all_reduce(values, method(values.size_bytes(), std::is_same_v<T, float>));
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

/// MPI wants the ranks' parts one after the other and of one length: so they go through a buffer,
/// in pieces, filled up with zeros.
template <typename T>
void World::reduce_scatter_by_method(std::span<T> values, std::span<const ranks::Part> parts,
                                     MPI_Datatype type) {
  const ranks::Exchange exchange("half a sum");
  if (size_ == 1) return;
  if (sums_) {
    return (*sums_)->reduce_scatter(values, parts,
                                    method(bytes_of<T>(parts), std::is_same_v<T, float>));
  }
  const std::size_t longest = std::ranges::max(parts, {}, &ranks::Part::size).size;
  const std::size_t length =
      std::min(longest, std::max<std::size_t>(kMostElements / parts.size(), 1));
  const std::size_t room = (parts.size() + 1) * length * sizeof(T);
  if (scattered_.size() < room) scattered_ = AlignedBuffer<std::byte>(room);
  const std::span<T> addends(reinterpret_cast<T*>(scattered_.data()), parts.size() * length);
  const std::span<T> sums(addends.data() + addends.size(), length);
  for (std::size_t first = 0; first < longest; first += length) {
    const auto piece = [&](const ranks::Part& part) {
      const std::size_t skipped = std::min(first, part.size);
      return values.subspan(part.offset + skipped, std::min(length, part.size - skipped));
    };
    std::ranges::fill(addends, T{});
    for (std::size_t rank = 0; rank < parts.size(); ++rank) {
      std::ranges::copy(piece(parts[rank]),
                        addends.begin() + static_cast<std::ptrdiff_t>(rank * length));
    }
    checked(MPI_Reduce_scatter_block(addends.data(), sums.data(), checked_count(length), type,
                                     MPI_SUM, MPI_COMM_WORLD),
            "MPI_Reduce_scatter_block");
    const std::span<T> mine = piece(parts[static_cast<std::size_t>(rank_)]);
    std::copy_n(sums.begin(), mine.size(), mine.begin());
    ranks::heartbeat().progress();
  }
}

void World::reduce_scatter(std::span<float> values, std::span<const ranks::Part> parts) {
  reduce_scatter_by_method(values, parts, MPI_FLOAT);
}

void World::reduce_scatter(std::span<std::int32_t> values, std::span<const ranks::Part> parts) {
  reduce_scatter_by_method(values, parts, MPI_UINT32_T);
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
  if (sums_) {
    (*sums_)->all_gather(values, parts, method(bytes_of<float>(parts), false));
  } else if (size_ > 1) {
    all_gather_.run(values, parts);
  }
}

std::unique_ptr<ranks::Courier> World::courier() {
  if (size_ == 1) return nullptr;
  return std::make_unique<Courier>(MPI_COMM_WORLD);
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
