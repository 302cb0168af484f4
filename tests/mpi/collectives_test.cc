// Sums over MPI and real shared memory. That they are right in all cases is proved on a virtual
// network (tests/collectives); here, that messages and memory do what they do there.
#include "cllm/collectives/collectives.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <optional>
#include <tuple>
#include <vector>

#include "allocations.h"
#include "cllm/mpi/probe.h"
#include "cllm/mpi/shared_memory.h"
#include "cllm/mpi/transport.h"
#include "support/rank_addends.h"

namespace cllm::mpi {
namespace {

using collectives::Collectives;
using collectives::Hosts;
using collectives::Method;
using collectives::part_of;
using collectives::Pattern;
using ranks::Part;
using support::addend;
using support::integer_addend;

/// Which host a rank plays to be on; all are on one.
struct Arrangement {
  const char* name;
  int (*host_of)(int rank, int ranks);
};

/// Short pieces, few slots: arrays of some elements then take all turns that long ones take.
struct Cut {
  std::size_t segment, in_flight;  ///< in elements
  std::size_t piece, slots, most_lanes;
};

const Arrangement kArrangements[] = {
    {"One", [](int, int) { return 0; }},
    {"EachAlone", [](int rank, int) { return rank; }},
    {"Pairs", [](int rank, int) { return rank / 2; }},
    {"RoundRobin", [](int rank, int) { return rank % 2; }},
    {"FirstAlone", [](int rank, int) { return rank == 0 ? 0 : 1; }},
    {"LastAlone", [](int rank, int ranks) { return rank == ranks - 1 ? 1 : 0; }},
    // Ranks 0 and 3 on one host, 1, 2 and 4 on another: the owners of a lane are not in the order
    // of their hosts.
    {"Crossed", [](int rank, int) { return rank == 0 || rank == 3 ? 0 : 1; }}};

const Cut kCuts[] = {{1, 1, 1, 1, 0}, {3, 2, 2, 3, 0}, {7, 5, 4, 2, 1}};

const Method kMethods[] = {{Pattern::kRing, true},
                           {Pattern::kRing, false},
                           {Pattern::kHalving, true},
                           {Pattern::kHalving, false}};

/// The ranks of a communicator, and sums among them.
class Group {
 public:
  Group(MPI_Comm communicator, const Arrangement& arrangement, const Cut& cut)
      : tuning_{.segment_bytes = cut.segment * sizeof(float),
                .in_flight = cut.in_flight,
                .piece_bytes = cut.piece * sizeof(float),
                .slots = cut.slots,
                .most_lanes = cut.most_lanes},
        transport_(communicator, cut.in_flight),
        hosts_(hosts_of(arrangement, transport_.size())) {
    const int host = arrangement.host_of(rank(), size());
    const Communicator beside = Communicator::split(communicator, host, rank());
    if (hosts_.most_ranks() > 1) {
      memory_.emplace(beside.get(),
                      Collectives::shared_bytes(hosts_, hosts_.host_of(rank()), tuning_));
    }
    sums_.emplace(transport_, hosts_, memory_ ? memory_->data() : nullptr, tuning_);
  }

  int rank() const { return transport_.rank(); }
  int size() const { return transport_.size(); }
  Collectives& sums() { return *sums_; }
  const Hosts& hosts() const { return hosts_; }

  std::size_t wrong_integers(std::size_t elements, Method method) {
    std::vector<std::int32_t> values = integers(elements);
    sums_->all_reduce(std::span(values).first(elements), method);
    return wrong(values, {0, elements}) + is_touched(values);
  }

  std::size_t wrong_scattered(std::size_t elements, Method method) {
    const std::vector<Part> parts = parts_of(elements);
    std::vector<std::int32_t> values = integers(elements);
    sums_->reduce_scatter(std::span(values).first(elements), parts, method);
    return wrong(values, parts[static_cast<std::size_t>(rank())]) + is_touched(values);
  }

  std::size_t wrong_gathered(std::size_t elements, Method method) {
    const std::vector<Part> parts = parts_of(elements);
    std::vector<float> values(elements, -1.f), expected = values;
    for (int owner = 0; owner < size(); ++owner) {
      const Part& part = parts[static_cast<std::size_t>(owner)];
      for (std::size_t i = part.offset; i < part.offset + part.size; ++i) {
        expected[i] = addend(owner, i);
        if (owner == rank()) values[i] = expected[i];
      }
    }
    sums_->all_gather(values, parts, method);
    return static_cast<std::size_t>(std::ranges::count_if(values, [&](const float& value) {
      return value != expected[static_cast<std::size_t>(&value - values.data())];
    }));
  }

  /// Floats, by hosts, against the order that is promised.
  std::size_t wrong_floats(std::size_t elements, Pattern pattern) {
    std::vector<float> values(elements);
    for (std::size_t i = 0; i < elements; ++i) values[i] = addend(rank(), i);
    sums_->all_reduce(values, {pattern, true});
    std::size_t wrong = 0;
    const std::size_t lanes = hosts_.most_ranks() > 1 ? sums_->lanes() : 1;
    for (std::size_t lane = 0; lane < lanes; ++lane) {
      for (std::size_t host = 0; host < hosts_.count(); ++host) {
        const Part part = part_of(part_of({0, elements}, lanes, lane), hosts_.count(), host);
        for (std::size_t i = part.offset; i < part.offset + part.size; ++i) {
          const auto of_host = [&](std::size_t h) {
            const std::vector<int>& ranks = hosts_.ranks_of(h);
            float sum = addend(ranks[lane], i);
            for (std::size_t k = 1; k < ranks.size(); ++k) {
              sum += addend(ranks[(lane + k) % ranks.size()], i);
            }
            return sum;
          };
          const float sum = pattern == Pattern::kRing
                                ? support::ring_sum(hosts_.count(), host, of_host)
                                : support::halving_sum(hosts_.count(), host, of_host);
          wrong += std::bit_cast<std::uint32_t>(values[i]) != std::bit_cast<std::uint32_t>(sum);
        }
      }
    }
    return wrong;
  }

 private:
  static Hosts hosts_of(const Arrangement& arrangement, int ranks) {
    std::vector<int> hosts;
    for (int rank = 0; rank < ranks; ++rank) hosts.push_back(arrangement.host_of(rank, ranks));
    return Hosts(hosts);
  }

  /// One element more, which nobody may touch.
  std::vector<std::int32_t> integers(std::size_t elements) const {
    std::vector<std::int32_t> values(elements + 1);
    for (std::size_t i = 0; i <= elements; ++i) {
      values[i] = static_cast<std::int32_t>(integer_addend(rank(), i));
    }
    return values;
  }

  /// Every third is empty; the others have an element between them.
  std::vector<Part> parts_of(std::size_t elements) const {
    std::vector<Part> parts;
    for (int rank = 0; rank < size(); ++rank) {
      Part part =
          part_of({0, elements}, static_cast<std::size_t>(size()), static_cast<std::size_t>(rank));
      part.size -= rank % 3 == 1 ? part.size : std::min<std::size_t>(part.size, 1);
      parts.push_back(part);
    }
    return parts;
  }

  std::size_t wrong(const std::vector<std::int32_t>& values, Part part) const {
    std::size_t count = 0;
    for (std::size_t i = part.offset; i < part.offset + part.size; ++i) {
      std::uint32_t sum = 0;
      for (int other = 0; other < size(); ++other) sum += integer_addend(other, i);
      count += values[i] != static_cast<std::int32_t>(sum);
    }
    return count;
  }
  std::size_t is_touched(const std::vector<std::int32_t>& values) const {
    return values.back() != static_cast<std::int32_t>(integer_addend(rank(), values.size() - 1));
  }

  const collectives::Tuning tuning_;
  Transport transport_;
  Hosts hosts_;
  std::optional<SharedMemory> memory_;
  std::optional<Collectives> sums_;
};

class CollectivesTest : public testing::TestWithParam<std::tuple<Arrangement, Cut>> {
 protected:
  Group group_{MPI_COMM_WORLD, std::get<0>(GetParam()), std::get<1>(GetParam())};
};

INSTANTIATE_TEST_SUITE_P(Hosts, CollectivesTest,
                         testing::Combine(testing::ValuesIn(kArrangements),
                                          testing::ValuesIn(kCuts)),
                         [](const auto& test) {
                           const Cut& cut = std::get<1>(test.param);
                           return std::string(std::get<0>(test.param).name) +
                                  std::to_string(cut.piece) +
                                  (cut.most_lanes == 1 ? "OneLane" : "");
                         });

TEST_P(CollectivesTest, AllMethodsSumScatterAndGather) {
  for (const Method method : kMethods) {
    for (const std::size_t elements : {0U, 1U, 3U, 7U, 29U}) {
      EXPECT_EQ(group_.wrong_integers(elements, method), 0u) << elements;
      EXPECT_EQ(group_.wrong_scattered(elements, method), 0u) << elements;
      EXPECT_EQ(group_.wrong_gathered(elements, method), 0u) << elements;
    }
  }
}

TEST_P(CollectivesTest, FloatsAreAddedInThePromisedOrder) {
  for (const std::size_t elements : {1U, 13U, 64U}) {
    EXPECT_EQ(group_.wrong_floats(elements, Pattern::kRing), 0u) << elements;
    EXPECT_EQ(group_.wrong_floats(elements, Pattern::kHalving), 0u) << elements;
  }
}

// Nothing of an earlier sum may be left over for the next, also where ranks are late.
TEST_P(CollectivesTest, SumsFollowEachOtherAtOnce) {
  std::vector<std::int32_t> values(64, 1);
  std::uint32_t expected = 1;
  for (int i = 0; i < 18; ++i) {
    group_.sums().all_reduce(std::span(values).first(i % 3 == 0 ? 64 : 0), kMethods[i % 4]);
    if (i % 3 == 0) expected *= static_cast<std::uint32_t>(group_.size());
  }
  EXPECT_EQ(values, std::vector<std::int32_t>(64, static_cast<std::int32_t>(expected)));
}

TEST_P(CollectivesTest, NothingIsAllocated) {
  constexpr std::size_t kElements = 30;
  std::vector<float> floats(kElements);
  std::vector<std::int32_t> integers(kElements);
  std::vector<Part> parts;
  for (int rank = 0; rank < group_.size(); ++rank) {
    parts.push_back(part_of({0, kElements}, static_cast<std::size_t>(group_.size()),
                            static_cast<std::size_t>(rank)));
  }
  const long before = allocations;
  for (const Method method : kMethods) {
    group_.sums().all_reduce(floats, method);
    group_.sums().all_reduce(integers, method);
    group_.sums().reduce_scatter(integers, parts, method);
    group_.sums().all_gather(floats, parts, method);
  }
  EXPECT_EQ(allocations, before);
  integers.assign(2000, 1);  // and this is seen
  EXPECT_GT(allocations, before);
}

// Each rank on a host of its own: they get the same figures, and there are some.
TEST(Probe, MeasuresWhatMessagesCost) {
  const collectives::Tuning tuning;
  Transport transport(MPI_COMM_WORLD, tuning.in_flight);
  const collectives::Costs costs =
      measure_costs(transport, Hosts::alone(transport.size()), MPI_COMM_WORLD);
  EXPECT_GT(costs.per_added_byte, 1e-13);
  EXPECT_LT(costs.per_added_byte, 1e-6);
  if (transport.size() == 1) {
    EXPECT_EQ(costs.network.latency, 0);
    return;
  }
  EXPECT_GT(costs.network.latency, 1e-7);
  EXPECT_LT(costs.network.latency, 1);
  EXPECT_GT(costs.network.per_byte, 1e-12);
  EXPECT_LT(costs.network.per_byte, 1e-4);
  double lowest[4] = {costs.per_added_byte, costs.network.latency, costs.network.per_byte,
                      costs.per_message};
  MPI_Allreduce(MPI_IN_PLACE, lowest, 4, MPI_DOUBLE, MPI_MIN, MPI_COMM_WORLD);
  EXPECT_EQ(lowest[0], costs.per_added_byte);
  EXPECT_EQ(lowest[1], costs.network.latency);
  EXPECT_EQ(lowest[2], costs.network.per_byte);
  EXPECT_EQ(lowest[3], costs.per_message);
}

// On 33 ranks, all numbers from 1 to 33: two groups at a time, which make 33 together.
TEST(ManyRanksTest, DISABLED_OneTo33) {
  const int rank = Communicator::rank_in(MPI_COMM_WORLD),
            all = Communicator::size_of(MPI_COMM_WORLD);
  for (int size = all / 2; size >= 0; --size) {
    const Communicator mine = Communicator::split(MPI_COMM_WORLD, rank < size ? 0 : 1, rank);
    for (const std::size_t which : {1U, 2U}) {
      Group group(mine.get(), kArrangements[which], {3, 2, 2, 3, 0});
      const auto ranks = static_cast<std::size_t>(group.size());
      for (const Method method : kMethods) {
        if (!method.by_hosts && which != 1) continue;
        for (const std::size_t elements : {ranks - 1, 2 * ranks + 1}) {
          EXPECT_EQ(group.wrong_integers(elements, method), 0u) << ranks << " " << elements;
          EXPECT_EQ(group.wrong_scattered(elements, method), 0u) << ranks << " " << elements;
          EXPECT_EQ(group.wrong_gathered(elements, method), 0u) << ranks << " " << elements;
        }
      }
    }
  }
}

}  // namespace
}  // namespace cllm::mpi
