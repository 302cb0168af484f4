#include "cllm/mpi/host_ring.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <tuple>
#include <vector>

#include "addends.h"
#include "allocations.h"
#include "cllm/base/error.h"
#include "cllm/mpi/world.h"

namespace cllm::mpi {
namespace {

/// Which host a rank plays to be on; all are on one.
struct Hosts {
  const char* name;
  int (*host_of)(int rank, int ranks);
};

/// Short pieces, few slots: arrays of some elements then take all turns that long ones take.
struct Cut {
  std::size_t piece;  ///< elements
  int slots, most_lanes;
};

const Hosts kHosts[] = {
    {"One", [](int, int) { return 0; }},
    {"EachAlone", [](int rank, int) { return rank; }},
    {"Pairs", [](int rank, int) { return rank / 2; }},
    {"RoundRobin", [](int rank, int) { return rank % 2; }},
    {"FirstAlone", [](int rank, int) { return rank == 0 ? 0 : 1; }},
    {"LastAlone", [](int rank, int ranks) { return rank == ranks - 1 ? 1 : 0; }},
    // Ranks 0 and 3 on one host, 1, 2 and 4 on another: the owners of a lane are not in the order
    // of their hosts.
    {"Crossed", [](int rank, int) { return rank == 0 || rank == 3 ? 0 : 1; }}};

class HostRingTest : public testing::TestWithParam<std::tuple<Hosts, Cut>> {
 protected:
  HostRingTest() {
    const auto& [hosts, cut] = GetParam();
    for (int rank = 0; rank < world_.size(); ++rank) {
      const int host = hosts.host_of(rank, world_.size());
      if (host >= std::ssize(ranks_of_)) ranks_of_.resize(static_cast<std::size_t>(host) + 1);
      ranks_of_[static_cast<std::size_t>(host)].push_back(rank);
    }
    std::erase_if(ranks_of_, [](const auto& ranks) { return ranks.empty(); });
    lanes_ = std::ranges::min(ranks_of_, {}, &std::vector<int>::size).size();
    if (cut.most_lanes > 0) lanes_ = std::min(lanes_, static_cast<std::size_t>(cut.most_lanes));
    const Communicator beside = Communicator::split(
        MPI_COMM_WORLD, hosts.host_of(world_.rank(), world_.size()), world_.rank());
    ring_.emplace(MPI_COMM_WORLD, beside.get(),
                  HostRingTuning{.ring = {.segment_bytes = 3 * sizeof(float), .in_flight = 2},
                                 .piece_bytes = cut.piece * sizeof(float),
                                 .slots = cut.slots,
                                 .most_lanes = cut.most_lanes});
  }

  /// Of `parts` parts of `count` elements, the one that has element i, which becomes its number in
  /// the part, and `count` the part's size.
  static std::size_t part_of(std::size_t& i, std::size_t& count, std::size_t parts) {
    for (std::size_t part = 0;; ++part) {
      const std::size_t size = count / parts + (part < count % parts ? 1 : 0);
      if (i < size) {
        count = size;
        return part;
      }
      i -= size;
    }
  }

  /// The sum of element i by the order that is promised.
  float expected(std::size_t i, std::size_t count) const {
    const std::size_t element = i;
    const std::size_t lane = part_of(i, count, lanes_);
    const std::size_t part = part_of(i, count, ranks_of_.size());
    float sum = 0;
    for (std::size_t h = 0; h < ranks_of_.size(); ++h) {
      const std::vector<int>& ranks = ranks_of_[(part + h) % ranks_of_.size()];
      float host_sum = addend(ranks[lane], element);
      for (std::size_t k = 1; k < ranks.size(); ++k) {
        host_sum += addend(ranks[(lane + k) % ranks.size()], element);
      }
      sum = h == 0 ? host_sum : sum + host_sum;
    }
    return sum;
  }

  std::size_t wrong_after_sum_of(std::size_t count) {
    return wrong_after_sum(*ring_, world_.rank(), count,
                           [this](std::size_t i, std::size_t of) { return expected(i, of); });
  }

  World world_;
  std::vector<std::vector<int>> ranks_of_;  ///< each host
  std::size_t lanes_ = 1;
  std::optional<HostRing> ring_;
};

INSTANTIATE_TEST_SUITE_P(Hosts, HostRingTest,
                         testing::Combine(testing::ValuesIn(kHosts),
                                          testing::Values(Cut{1, 1, 0}, Cut{2, 3, 0}, Cut{7, 2, 0},
                                                          Cut{4, 2, 1})),
                         [](const auto& test) {
                           const Cut& cut = std::get<1>(test.param);
                           return std::string(std::get<0>(test.param).name) +
                                  std::to_string(cut.piece) +
                                  (cut.most_lanes == 1 ? "OneLane" : "");
                         });

TEST_P(HostRingTest, KnowsHostsAndLanes) {
  EXPECT_EQ(ring_->hosts(), std::ssize(ranks_of_));
  EXPECT_EQ(static_cast<std::size_t>(ring_->lanes()), lanes_);
  EXPECT_GT(ring_->bytes(), 0u);
}

TEST_P(HostRingTest, FloatsAreAddedInThePromisedOrder) {
  for (const std::size_t count :
       {0U, 1U, 2U, 3U, 4U, 5U, 6U, 7U, 13U, 14U, 15U, 28U, 29U, 64U, 211U}) {
    EXPECT_EQ(wrong_after_sum_of(count), 0u) << count;
  }
}

TEST_P(HostRingTest, IntegersWrap) {
  const auto addend = [](int rank, std::size_t i) {
    return 0x7FFFFFFFu - static_cast<std::uint32_t>(rank) * 12345u - static_cast<std::uint32_t>(i);
  };
  std::vector<std::int32_t> values(211), sums(211);
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = static_cast<std::int32_t>(addend(world_.rank(), i));
    std::uint32_t sum = 0;
    for (int rank = 0; rank < world_.size(); ++rank) sum += addend(rank, i);
    sums[i] = static_cast<std::int32_t>(sum);
  }
  ring_->all_reduce(values);
  EXPECT_EQ(values, sums);
}

// Nothing of an earlier sum may be left over for the next, also where ranks are late.
TEST_P(HostRingTest, SumsFollowEachOtherAtOnce) {
  const std::vector<std::int32_t> ones(64, 1);
  std::vector<std::int32_t> values = ones;
  std::uint32_t expected = 1;
  for (int i = 0; i < 30; ++i) {
    ring_->all_reduce(std::span(values).first(static_cast<std::size_t>(i % 3 == 0 ? 64 : 0)));
    if (i % 3 == 0) expected *= static_cast<std::uint32_t>(world_.size());
  }
  EXPECT_EQ(values, std::vector<std::int32_t>(64, static_cast<std::int32_t>(expected)));
}

TEST_P(HostRingTest, ASumAllocatesNothing) {
  std::vector<float> floats(1000);
  std::vector<std::int32_t> integers(1000);
  ring_->all_reduce(floats);
  const long before = allocations;
  ring_->all_reduce(floats);
  ring_->all_reduce(integers);
  EXPECT_EQ(allocations, before);
  integers.assign(2000, 1);  // and this is seen
  EXPECT_GT(allocations, before);
}

// The order matters: added up from rank 0 on, some elements would have other bits.
TEST_P(HostRingTest, AnotherOrderWouldBeSeen) {
  if (world_.size() < 3) GTEST_SKIP() << "needs 3 ranks";
  std::size_t other = 0;
  for (std::size_t i = 0; i < 211; ++i) {
    float sum = addend(0, i);
    for (int rank = 1; rank < world_.size(); ++rank) sum += addend(rank, i);
    other += sum != expected(i, 211);
  }
  // But for a single lane where at most the last rank is on another host: of two addends the order
  // does not matter.
  const bool is_same =
      lanes_ == 1 && (ranks_of_.size() == 1 ||
                      (ranks_of_.size() == 2 && ranks_of_[1] == std::vector{world_.size() - 1}));
  EXPECT_EQ(other > 0, !is_same);
}

class SharedMemoryTest : public testing::Test {
 protected:
  World world_;
  Communicator beside_ = Communicator::of_host(MPI_COMM_WORLD);
};

TEST_F(SharedMemoryTest, IsZeroAndSeenByAll) {
  const SharedMemory memory(beside_.get(), 10'000);
  ASSERT_EQ(memory.size(), 10'000u);
  EXPECT_EQ(std::ranges::count(std::span(memory.data(), memory.size()), std::byte{0}), 10'000);
  world_.all_gather("");  // all have looked
  memory.data()[world_.rank()] = std::byte{7};
  world_.all_gather("");  // all have written
  for (int rank = 0; rank < world_.size(); ++rank) EXPECT_EQ(memory.data()[rank], std::byte{7});
}

TEST_F(SharedMemoryTest, ThatIsNotToBeHadIsAnErrorOfAll) {
  try {
    const SharedMemory memory(beside_.get(), std::size_t{1} << 50);
    ADD_FAILURE() << "a pebibyte";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(),
                testing::ContainsRegex("the ranks of host .* cannot share .*/dev/shm"));
  }
  EXPECT_EQ(world_.all_gather("").size(), static_cast<std::size_t>(world_.size()));
}

}  // namespace
}  // namespace cllm::mpi
