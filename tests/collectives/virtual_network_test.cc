#include "cllm/collectives/virtual_network.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <vector>

#include "cllm/collectives/virtual_ranks.h"
#include "support/error_of.h"

namespace cllm::collectives {
namespace {

using testing::HasSubstr;

constexpr Costs kLink = {.network = {1e-3, 1e-6}};
constexpr double kClose = 1e-12;

/// Ranks that each send one message to the next and await one of the one before.
class Shift {
 public:
  Shift(VirtualNetwork& network, int ranks, std::size_t bytes)
      : network_(network),
        ranks_(ranks),
        sent_(static_cast<std::size_t>(ranks), std::vector<std::byte>(bytes)),
        got_(sent_),
        state_(sent_.size()) {}

  double run() {
    return network_.run([this](int rank) { return advance(rank); },
                        [this](int rank) { return state_[static_cast<std::size_t>(rank)] == 3; });
  }

 private:
  std::size_t advance(int rank) {
    const auto r = static_cast<std::size_t>(rank);
    Transport& transport = network_.transport(rank);
    if (state_[r] == 0) {
      transport.receive(0, got_[r], (rank + ranks_ - 1) % ranks_);
      transport.send(0, sent_[r], (rank + 1) % ranks_);
      state_[r] = 1;
      return 1;
    }
    if (state_[r] == 1 && transport.has_received(0)) return state_[r] = 2;
    if (state_[r] == 2 && transport.has_sent(0)) return state_[r] = 3;
    return 0;
  }

  VirtualNetwork& network_;
  int ranks_;
  std::vector<std::vector<std::byte>> sent_, got_;
  std::vector<std::size_t> state_;
};

TEST(VirtualNetwork, AMessageTakesLatencyAndItsBytes) {
  VirtualNetwork network(Hosts::alone(3), kLink, 1);
  EXPECT_NEAR(Shift(network, 3, 500).run(), 1e-3 + 500e-6, kClose);
  EXPECT_NEAR(Shift(network, 3, 0).run(), 2e-3 + 500e-6, kClose);  // time goes on
  EXPECT_EQ(network.messages(), 6u);
  EXPECT_EQ(network.bytes(), 1500u);
}

TEST(VirtualNetwork, AThreadIsBusyForEachMessage) {
  VirtualNetwork network(Hosts::alone(2), {.network = {1e-3, 0}, .per_message = 1e-4}, 1);
  EXPECT_NEAR(Shift(network, 2, 500).run(), 1e-3 + 2e-4, kClose);
}

// Two ranks of a host send to another host at the same time: one after the other.
TEST(VirtualNetwork, RanksOfAHostShareItsLink) {
  const std::array host_of = {0, 1, 0, 1};
  VirtualNetwork network(Hosts(host_of), kLink, 1);
  EXPECT_NEAR(Shift(network, 4, 500).run(), 1e-3 + 1000e-6, kClose);
}

TEST(VirtualNetwork, WithinAHostMemoryCosts) {
  const std::array host_of = {0, 0};
  VirtualNetwork network(Hosts(host_of), {.network = {1, 1}, .memory = {1e-6, 1e-9}}, 1);
  EXPECT_NEAR(Shift(network, 2, 500).run(), 1e-6 + 500e-9, kClose);
}

TEST(VirtualNetwork, RefusesWhatWouldBeAnErrorOnARealOne) {
  VirtualNetwork network(Hosts::alone(2), kLink, 1);
  std::array<std::byte, 8> bytes{};
  network.transport(0).send(0, bytes, 1);
  EXPECT_THAT(support::error_of([&] { network.transport(0).send(0, bytes, 1); }),
              HasSubstr("in use"));
  network.transport(1).receive(0, std::span(bytes).first(4), 0);
  EXPECT_THAT(support::error_of([&] {
                network.run([](int) { return std::size_t{0}; }, [](int) { return false; });
              }),
              HasSubstr("awaits 4 bytes of rank 0, which sent 8"));
}

TEST(VirtualNetwork, RanksThatWaitForEachOtherAreAnError) {
  VirtualNetwork network(Hosts::alone(2), kLink, 1);
  EXPECT_THAT(support::error_of([&] {
                network.run([](int) { return std::size_t{0}; }, [](int rank) { return rank == 0; });
              }),
              HasSubstr("1 virtual ranks wait for each other"));
}

/// Seconds of a sum of many ranks with or without content.
double seconds_of_sum(int ranks, std::size_t elements, Method method, const Costs& costs,
                      Simulated what = Simulated::kTimes) {
  VirtualRanks all(Hosts::alone(ranks), costs, {}, what);
  std::vector<std::vector<float>> values(static_cast<std::size_t>(ranks),
                                         std::vector<float>(elements));
  const std::vector<std::span<float>> spans(values.begin(), values.end());
  return all.run<float>(Collective::kAllReduce, spans, {}, method);
}

TEST(VirtualNetwork, TheSameCallsGiveTheSameSecondsWithContentOrWithout) {
  const Costs costs = {.network = {3e-5, 8e-10}, .per_message = 1e-6, .per_added_byte = 2e-10};
  for (const Pattern pattern : {Pattern::kRing, Pattern::kHalving}) {
    const double seconds = seconds_of_sum(7, 100'003, {pattern}, costs, Simulated::kAll);
    EXPECT_EQ(seconds_of_sum(7, 100'003, {pattern}, costs, Simulated::kAll), seconds);
    EXPECT_EQ(seconds_of_sum(7, 100'003, {pattern}, costs, Simulated::kTimes), seconds);
    EXPECT_GT(seconds, 0);
  }
}

// Where latency is all, a ring waits 2(N-1) times, halving 2⌈log2 N⌉ times.
TEST(VirtualNetwork, LatencyCountsAsOftenAsRoundsDo) {
  const Costs costs = {.network = {1e-3, 0}};
  for (const auto& [ranks, rounds] : {std::pair{2, 1}, {3, 2}, {5, 3}, {8, 3}, {33, 6}, {100, 7}}) {
    EXPECT_NEAR(seconds_of_sum(ranks, 1000, {Pattern::kHalving}, costs), 2e-3 * rounds, 1e-9);
    EXPECT_NEAR(seconds_of_sum(ranks, 1000, {Pattern::kRing}, costs), 2e-3 * (ranks - 1), 1e-9);
  }
}

// Where bandwidth is all, both send everything but one part twice.
TEST(VirtualNetwork, BytesCountAlike) {
  const Costs costs = {.network = {0, 1e-9}};
  for (const int ranks : {2, 3, 5, 8, 33}) {
    const std::size_t elements = static_cast<std::size_t>(ranks) * 50'000;
    const double least = 2e-9 * 4 * 50'000 * (ranks - 1);
    for (const Pattern pattern : {Pattern::kRing, Pattern::kHalving}) {
      const double seconds = seconds_of_sum(ranks, elements, {pattern}, costs);
      EXPECT_GE(seconds, least * 0.999999);
      EXPECT_LT(seconds, least * 1.05) << ranks;
    }
  }
}

}  // namespace
}  // namespace cllm::collectives
