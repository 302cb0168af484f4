#include "cllm/collectives/collectives.h"

#include <gtest/gtest.h>

#include <bit>
#include <cstdint>
#include <functional>
#include <numeric>
#include <string>
#include <tuple>
#include <vector>

#include "cllm/collectives/virtual_ranks.h"
#include "support/rank_addends.h"

namespace cllm::collectives {
namespace {

using ranks::Part;
using support::addend;
using support::integer_addend;

/// A way to put ranks on hosts.
struct Arrangement {
  const char* name;
  int (*host_of)(int rank, int ranks);
};

const Arrangement kArrangements[] = {
    {"EachAlone", [](int rank, int) { return rank; }},
    {"OneHost", [](int, int) { return 0; }},
    {"Pairs", [](int rank, int) { return rank / 2; }},
    {"Fours", [](int rank, int) { return rank / 4; }},
    {"RoundRobin", [](int rank, int) { return rank % 3; }},
    {"FirstAlone", [](int rank, int) { return rank == 0 ? 0 : 1; }},
    {"LastAlone", [](int rank, int ranks) { return rank == ranks - 1 ? 1 : 0; }},
};

Hosts hosts_of(const Arrangement& arrangement, int ranks) {
  std::vector<int> host_of;
  for (int rank = 0; rank < ranks; ++rank) host_of.push_back(arrangement.host_of(rank, ranks));
  return Hosts(host_of);
}

/// Short messages and few of them, so that arrays of some elements take all turns that long ones
/// take.
const Tuning kShort = {.segment_bytes = 12, .in_flight = 2, .piece_bytes = 8, .slots = 3};
const Costs kCosts = {.network = {1e-5, 1e-9},
                      .memory = {1e-6, 1e-10},
                      .per_message = 1e-6,
                      .per_added_byte = 1e-10,
                      .per_copied_byte = 1e-10};

/// Parts with gaps between them, of unlike sizes, some empty; `shape` 0 has all of the array.
std::vector<Part> parts_for(std::size_t elements, int ranks, int shape) {
  std::vector<Part> parts;
  const auto count = static_cast<std::size_t>(ranks);
  for (std::size_t rank = 0; rank < count; ++rank) {
    Part part = part_of({0, elements}, count, rank);
    if (shape == 1) part.size -= std::min(part.size, rank % 3);  // gaps
    if (shape == 2 && rank % 2 == 1) part.size = 0;
    if (shape == 3) part = {0, rank == count / 2 ? elements : 0};  // all is one rank's
    parts.push_back(part);
  }
  return parts;
}

/// One way to put ranks on hosts, and a number of them.
class Sums {
 public:
  Sums(const Arrangement& arrangement, int ranks, const Tuning& tuning = kShort)
      : hosts_(hosts_of(arrangement, ranks)),
        ranks_(hosts_, kCosts, tuning),
        lanes_(hosts_.fewest_ranks()) {}

  int size() const { return ranks_.size(); }

  /// The number of elements, of all ranks, that aren't what they should be after the sum.
  std::size_t wrong_integers(std::size_t elements, Method method) {
    const auto values =
        run<std::uint32_t>(Collective::kAllReduce, elements, {}, method,
                           [](int rank, std::size_t i) { return integer_addend(rank, i); });
    std::size_t wrong = 0;
    for (std::size_t i = 0; i < elements; ++i) {
      const std::uint32_t sum = integer_sum(i);
      for (const auto& mine : values) wrong += mine[i] != sum;
    }
    return wrong;
  }

  std::size_t wrong_floats(std::size_t elements, Method method) {
    const auto values = run<float>(Collective::kAllReduce, elements, {}, method, addend);
    std::size_t wrong = 0;
    const bool by_hosts = method.by_hosts && hosts_.most_ranks() > 1;
    const std::size_t lanes = by_hosts ? lanes_ : 1;
    const std::size_t hosts = by_hosts ? hosts_.count() : hosts_.all_ranks();
    for (std::size_t lane = 0; lane < lanes; ++lane) {
      const Part whole = part_of({0, elements}, lanes, lane);
      for (std::size_t host = 0; host < hosts; ++host) {
        const Part part = part_of(whole, hosts, host);
        for (std::size_t i = part.offset; i < part.offset + part.size; ++i) {
          const float sum = float_sum(i, lane, host, method);
          for (const auto& mine : values) {
            wrong += std::bit_cast<std::uint32_t>(mine[i]) != std::bit_cast<std::uint32_t>(sum);
          }
        }
      }
    }
    return wrong;
  }

  /// Of the ranks' own parts.
  std::size_t wrong_scattered(std::size_t elements, int shape, Method method) {
    const std::vector<Part> parts = parts_for(elements, size(), shape);
    const auto values =
        run<std::uint32_t>(Collective::kReduceScatter, elements, parts, method,
                           [](int rank, std::size_t i) { return integer_addend(rank, i); });
    const auto floats = run<float>(Collective::kReduceScatter, elements, parts, method, addend);
    const bool by_hosts =
        method.by_hosts && hosts_.most_ranks() > 1 && lanes_ == hosts_.most_ranks();
    std::size_t wrong = 0;
    for (std::size_t rank = 0; rank < parts.size(); ++rank) {
      const std::size_t lane = by_hosts ? hosts_.number_of(static_cast<int>(rank)) : 0;
      const std::size_t host = by_hosts ? hosts_.host_of(static_cast<int>(rank)) : rank;
      for (std::size_t i = parts[rank].offset; i < parts[rank].offset + parts[rank].size; ++i) {
        wrong += values[rank][i] != integer_sum(i);
        wrong += std::bit_cast<std::uint32_t>(floats[rank][i]) !=
                 std::bit_cast<std::uint32_t>(float_sum(i, lane, host, {method.pattern, by_hosts}));
      }
    }
    return wrong;
  }

  /// Of all parts, and of what lies between them.
  std::size_t wrong_gathered(std::size_t elements, int shape, Method method) {
    const std::vector<Part> parts = parts_for(elements, size(), shape);
    const auto owner_of = [&](std::size_t i) {
      for (std::size_t rank = 0; rank < parts.size(); ++rank) {
        if (i >= parts[rank].offset && i < parts[rank].offset + parts[rank].size) {
          return static_cast<int>(rank);
        }
      }
      return -1;
    };
    const auto values =
        run<float>(Collective::kAllGather, elements, parts, method, [&](int rank, std::size_t i) {
          const int owner = owner_of(i);
          return owner == rank || owner < 0 ? addend(rank, i) : -1.f;
        });
    std::size_t wrong = 0;
    for (std::size_t i = 0; i < elements; ++i) {
      const int owner = owner_of(i);
      for (std::size_t rank = 0; rank < values.size(); ++rank) {
        wrong += values[rank][i] != addend(owner < 0 ? static_cast<int>(rank) : owner, i);
      }
    }
    return wrong;
  }

 private:
  template <typename T>
  std::vector<std::vector<T>> run(Collective what, std::size_t elements,
                                  const std::vector<Part>& parts, Method method,
                                  const std::function<T(int, std::size_t)>& value) {
    std::vector<std::vector<T>> values;
    std::vector<std::span<T>> spans;
    for (int rank = 0; rank < size(); ++rank) {
      // One element more, which nobody may touch.
      std::vector<T>& mine = values.emplace_back(elements + 1);
      for (std::size_t i = 0; i <= elements; ++i) mine[i] = value(rank, i);
    }
    for (auto& mine : values) spans.push_back(std::span(mine).first(elements));
    ranks_.run<T>(what, spans, parts, method);
    for (int rank = 0; rank < size(); ++rank) {
      EXPECT_EQ(values[static_cast<std::size_t>(rank)][elements], value(rank, elements));
    }
    return values;
  }

  std::uint32_t integer_sum(std::size_t i) const {
    std::uint32_t sum = 0;
    for (int rank = 0; rank < ranks_.size(); ++rank) sum += integer_addend(rank, i);
    return sum;
  }

  float float_sum(std::size_t i, std::size_t lane, std::size_t part, Method method) const {
    const bool by_hosts = method.by_hosts && hosts_.most_ranks() > 1;
    const auto of_host = [&](std::size_t host) {
      if (!by_hosts) return addend(static_cast<int>(host), i);
      const std::vector<int>& ranks = hosts_.ranks_of(host);
      float sum = addend(ranks[lane], i);
      for (std::size_t k = 1; k < ranks.size(); ++k) {
        sum += addend(ranks[(lane + k) % ranks.size()], i);
      }
      return sum;
    };
    const std::size_t count = by_hosts ? hosts_.count() : hosts_.all_ranks();
    return method.pattern == Pattern::kRing ? support::ring_sum(count, part, of_host)
                                            : support::halving_sum(count, part, of_host);
  }

  Hosts hosts_;
  VirtualRanks ranks_;
  std::size_t lanes_;
};

const Method kMethods[] = {{Pattern::kRing, true},
                           {Pattern::kRing, false},
                           {Pattern::kHalving, true},
                           {Pattern::kHalving, false}};

std::string text(int ranks, std::size_t elements, Method method) {
  return std::to_string(ranks) + " ranks, " + std::to_string(elements) + " elements, " +
         (method.pattern == Pattern::kRing ? "ring" : "halving") +
         (method.by_hosts ? " by hosts" : " flat");
}

class CollectivesTest : public testing::TestWithParam<Arrangement> {};

INSTANTIATE_TEST_SUITE_P(Hosts, CollectivesTest, testing::ValuesIn(kArrangements),
                         [](const auto& test) { return std::string(test.param.name); });

// Lengths from none over fewer than there are ranks to some messages for each part.
TEST_P(CollectivesTest, OneTo33RanksSumEachElementInThePromisedOrder) {
  for (int ranks = 1; ranks <= 33; ++ranks) {
    Sums sums(GetParam(), ranks);
    for (const Method method : kMethods) {
      const auto count = static_cast<std::size_t>(ranks);
      for (const std::size_t elements :
           {std::size_t{0}, std::size_t{1}, count - 1, count + 1, 7 * count + 3}) {
        EXPECT_EQ(sums.wrong_integers(elements, method), 0u) << text(ranks, elements, method);
        EXPECT_EQ(sums.wrong_floats(elements, method), 0u) << text(ranks, elements, method);
      }
    }
  }
}

TEST_P(CollectivesTest, OneTo33RanksScatterAndGatherPartsOfAnySize) {
  for (int ranks = 1; ranks <= 33; ++ranks) {
    Sums sums(GetParam(), ranks);
    for (const Method method : kMethods) {
      const auto count = static_cast<std::size_t>(ranks);
      for (const std::size_t elements :
           {std::size_t{0}, std::size_t{1}, count - 1, 5 * count + 2}) {
        for (const int shape : {0, 1, 2, 3}) {
          EXPECT_EQ(sums.wrong_scattered(elements, shape, method), 0u)
              << text(ranks, elements, method) << ", shape " << shape;
          EXPECT_EQ(sums.wrong_gathered(elements, shape, method), 0u)
              << text(ranks, elements, method) << ", shape " << shape;
        }
      }
    }
  }
}

TEST_P(CollectivesTest, ManyRanks) {
  for (const int ranks : {64, 100}) {
    Sums sums(GetParam(), ranks, {});
    for (const Method method : kMethods) {
      for (const std::size_t elements : {std::size_t{63}, std::size_t{1001}}) {
        EXPECT_EQ(sums.wrong_integers(elements, method), 0u) << text(ranks, elements, method);
        EXPECT_EQ(sums.wrong_floats(elements, method), 0u) << text(ranks, elements, method);
        EXPECT_EQ(sums.wrong_scattered(elements, 1, method), 0u) << text(ranks, elements, method);
        EXPECT_EQ(sums.wrong_gathered(elements, 2, method), 0u) << text(ranks, elements, method);
      }
    }
  }
}

TEST(Collectives, OneThousandAndTwentyFourRanks) {
  Sums sums(kArrangements[0], 1024, {.segment_bytes = 1024, .in_flight = 4});
  const Method halving{Pattern::kHalving}, ring{Pattern::kRing};
  EXPECT_EQ(sums.wrong_integers(1500, halving), 0u);
  EXPECT_EQ(sums.wrong_scattered(1500, 0, halving), 0u);
  EXPECT_EQ(sums.wrong_gathered(1500, 0, halving), 0u);
  EXPECT_EQ(sums.wrong_integers(700, ring), 0u);
}

// Long messages, whose lengths no segment divides.
TEST(Collectives, LongArrays) {
  for (const Arrangement& arrangement : {kArrangements[0], kArrangements[2]}) {
    Sums sums(arrangement, 6, {});
    for (const Method method : kMethods) {
      EXPECT_EQ(sums.wrong_integers(100'007, method), 0u);
      EXPECT_EQ(sums.wrong_floats(100'007, method), 0u);
      EXPECT_EQ(sums.wrong_scattered(100'007, 0, method), 0u);
      EXPECT_EQ(sums.wrong_gathered(100'007, 1, method), 0u);
    }
  }
}

// The reference tells orders apart: were they all alike, it would prove nothing.
TEST(Collectives, AnotherOrderWouldBeSeen) {
  std::size_t unlike = 0;
  for (std::size_t i = 0; i < 200; ++i) {
    const auto value = [&](std::size_t rank) { return addend(static_cast<int>(rank), i); };
    unlike += support::ring_sum(7, i % 7, value) != support::halving_sum(7, i % 7, value);
    unlike += support::ring_sum(7, i % 7, value) != support::ring_sum(7, (i + 1) % 7, value);
  }
  EXPECT_GT(unlike, 50u);
}

}  // namespace
}  // namespace cllm::collectives
