#include "cllm/collectives/simulated_sums.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "cllm/collectives/part_walk.h"
#include "support/error_of.h"

namespace cllm::collectives {
namespace {

constexpr Costs kCosts = {.network = {2e-5, 3.2e-10},
                          .per_message = 2e-6,
                          .per_added_byte = 1e-10,
                          .per_copied_byte = 1e-10};

std::vector<ranks::Part> even_parts(std::size_t elements, std::size_t ranks) {
  std::vector<ranks::Part> parts;
  for (std::size_t rank = 0; rank < ranks; ++rank) {
    parts.push_back(part_of({0, elements}, ranks, rank));
  }
  return parts;
}

Hosts alike(std::size_t hosts, std::size_t ranks) {
  std::vector<int> host_of;
  for (std::size_t rank = 0; rank < hosts * ranks; ++rank) {
    host_of.push_back(static_cast<int>(rank / ranks));
  }
  return Hosts(host_of);
}

/// What it takes where all hosts are simulated.
double of_all(Collective what, std::size_t hosts, std::size_t ranks, std::size_t elements,
              Pattern pattern, const Costs& costs = kCosts) {
  VirtualRanks all(alike(hosts, ranks), costs, {}, Simulated::kTimes);
  AlignedBuffer<float> untouched(elements);
  const std::vector<std::span<float>> values(hosts * ranks, untouched.span());
  const std::vector<ranks::Part> parts = even_parts(elements, hosts * ranks);
  return all.run<float>(what, values,
                        what == Collective::kAllReduce ? std::span<const ranks::Part>() : parts,
                        {pattern});
}

double of_one(Collective what, std::size_t hosts, std::size_t ranks, std::size_t elements,
              Pattern pattern, const Costs& costs = kCosts) {
  return SimulatedSums(hosts, ranks, costs).even(what, elements * sizeof(float), pattern).seconds;
}

constexpr Collective kAll[] = {Collective::kAllReduce, Collective::kReduceScatter,
                               Collective::kAllGather};

std::string text(Collective what, std::size_t hosts, std::size_t ranks, std::size_t each) {
  return std::to_string(static_cast<int>(what)) + ": " + std::to_string(hosts) + " hosts of " +
         std::to_string(ranks) + " ranks, " + std::to_string(each) + " elements each";
}

// One rank of a host: to the last bit what a simulation of all hosts gives.
TEST(SimulatedSums, OneHostTakesByTheRingWhatAllDo) {
  for (const std::size_t hosts : std::vector<std::size_t>{2, 3, 5, 8, 13}) {
    for (const std::size_t each : std::vector<std::size_t>{1, 1000, 15'360, 50'001}) {
      for (const Collective what : kAll) {
        EXPECT_EQ(of_one(what, hosts, 1, hosts * each, Pattern::kRing),
                  of_all(what, hosts, 1, hosts * each, Pattern::kRing))
            << text(what, hosts, 1, each);
      }
    }
  }
}

// Where hosts have several ranks, these are woken in some order whenever one of them puts something
// into their memory; so all hosts do the same, if not to the last bit.
TEST(SimulatedSums, OneHostOfSeveralRanksTakesByTheRingWhatAllDo) {
  for (const std::size_t hosts : std::vector<std::size_t>{1, 2, 5}) {
    for (const std::size_t ranks : std::vector<std::size_t>{2, 3}) {
      for (const Collective what : kAll) {
        const std::size_t elements = hosts * ranks * 20'000;
        const double all = of_all(what, hosts, ranks, elements, Pattern::kRing);
        EXPECT_NEAR(of_one(what, hosts, ranks, elements, Pattern::kRing), all, 1e-9 * all)
            << text(what, hosts, ranks, 20'000);
      }
    }
  }
}

/// Messages that another rank may send and receive more than the first in each round of halving, at
/// most, and what these take: Note [One host for all].
double of_cut_stretches(Collective what, std::size_t hosts) {
  const Schedule schedule(Pattern::kHalving, 0, static_cast<int>(hosts));
  const int rounds = schedule.half() * (what == Collective::kAllReduce ? 2 : 1);
  const Tuning tuning;
  const double segment = static_cast<double>(tuning.segment_bytes);
  return rounds * (2 * kCosts.per_message + segment * kCosts.per_added_byte);
}

TEST(SimulatedSums, OneHostTakesByHalvingWhatAllDoButForStretchesThatAreCut) {
  for (const std::size_t hosts : std::vector<std::size_t>{2, 3, 5, 8, 13, 32}) {
    for (const std::size_t each : std::vector<std::size_t>{1, 1000, 15'360, 50'001}) {
      for (const Collective what : kAll) {
        const double all = of_all(what, hosts, 1, hosts * each, Pattern::kHalving);
        const double one = of_one(what, hosts, 1, hosts * each, Pattern::kHalving);
        EXPECT_LE(one, all * (1 + 1e-12)) << text(what, hosts, 1, each);
        EXPECT_GE(one, all - of_cut_stretches(what, hosts)) << text(what, hosts, 1, each);
        EXPECT_TRUE(hosts > 2 || one == all);
      }
    }
  }
}

// Where only latency or only bytes cost anything, it is known what sums take.
TEST(SimulatedSums, TakeWhatCanBeReckoned) {
  constexpr std::size_t kHosts = 1024;
  const Costs latency = {.network = {1e-3, 0}};
  EXPECT_NEAR(of_one(Collective::kAllReduce, kHosts, 1, kHosts, Pattern::kRing, latency),
              2 * (kHosts - 1) * 1e-3, 1e-9);
  EXPECT_NEAR(of_one(Collective::kAllReduce, kHosts, 1, kHosts, Pattern::kHalving, latency),
              2 * 10 * 1e-3, 1e-9);
  const Costs bytes = {.network = {0, 1e-9}};
  const std::size_t elements = kHosts * 10'000;
  for (const Pattern pattern : {Pattern::kRing, Pattern::kHalving}) {
    const double least = 4e-9 * 10'000 * (kHosts - 1);
    const double half = of_one(Collective::kReduceScatter, kHosts, 1, elements, pattern, bytes);
    EXPECT_GE(half, 0.999999 * least);
    EXPECT_LE(half, 1.01 * least);
    EXPECT_NEAR(of_one(Collective::kAllReduce, kHosts, 1, elements, pattern, bytes), 2 * half,
                0.01 * half);
  }
}

TEST(SimulatedSums, KnowsWhatARankSendsAndHowLongItIsBusy) {
  SimulatedSums sums(4, 1, kCosts);
  const std::size_t bytes = std::size_t{4} << 20;
  const SimulatedSums::Time time = sums.even(Collective::kAllReduce, bytes, Pattern::kRing);
  EXPECT_DOUBLE_EQ(time.bytes, 2.0 * static_cast<double>(bytes) * 3 / 4);
  const double added = static_cast<double>(bytes) * 3 / 4 * kCosts.per_added_byte;
  EXPECT_GT(time.busy, added);
  EXPECT_LT(time.busy, time.seconds);
  // Asked again, and after others, it is the same.
  sums.even(Collective::kAllReduce, 1000, Pattern::kHalving);
  EXPECT_EQ(sums.even(Collective::kAllReduce, bytes, Pattern::kRing).seconds, time.seconds);
  EXPECT_EQ(SimulatedSums(4, 1, kCosts).even(Collective::kAllReduce, bytes, Pattern::kRing).seconds,
            time.seconds);
}

TEST(SimulatedSums, OneRankSendsNothing) {
  SimulatedSums sums(1, 1, kCosts);
  const SimulatedSums::Time time = sums.even(Collective::kAllReduce, 1 << 20, Pattern::kRing);
  EXPECT_EQ(time.seconds, 0);
  EXPECT_EQ(time.bytes, 0);
}

TEST(SimulatedSums, GathersPartsOfAnySize) {
  SimulatedSums sums(4, 1, kCosts);
  const std::size_t elements = 400'000;
  for (const Pattern pattern : {Pattern::kRing, Pattern::kHalving}) {
    EXPECT_EQ(sums.all_gather(even_parts(elements, 4), pattern).seconds,
              of_all(Collective::kAllGather, 4, 1, elements, pattern));
    // All of it from one rank has to pass that rank's link, or others' one after the other.
    const std::vector<ranks::Part> uneven = {{0, elements}, {}, {}, {}};
    const double least = elements * sizeof(float) * kCosts.network.per_byte;
    EXPECT_GE(sums.all_gather(uneven, pattern).seconds, least);
  }
}

TEST(SimulatedSums, UnlikeHostsHaveNoOneToStandForThem) {
  const std::vector<int> host_of = {0, 0, 1};
  EXPECT_NE(support::error_of([&] {
              VirtualRanks(Hosts(host_of), kCosts, {}, Simulated::kOneHost);
            }).find("from 1 to 2 ranks"),
            std::string::npos);
}

}  // namespace
}  // namespace cllm::collectives
