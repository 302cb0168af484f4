#include "cllm/collectives/cost_model.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <vector>

#include "cllm/collectives/virtual_ranks.h"

namespace cllm::collectives {
namespace {

/// Networks as there are: 100 Gbit/s, 25 Gbit/s, 1 Gbit/s, 100 Mbit/s, and a slow line.
struct Net {
  const char* name;
  Costs costs;
};
const Net kNets[] = {
    {"fast",
     {.network = {3e-6, 8e-11},
      .memory = {1e-6, 1e-10},
      .per_message = 1e-6,
      .per_added_byte = 5e-11}},
    {"25gbit",
     {.network = {2e-5, 3.2e-10},
      .memory = {1e-6, 1e-10},
      .per_message = 2e-6,
      .per_added_byte = 1e-10}},
    {"1gbit",
     {.network = {6e-5, 8e-9},
      .memory = {1e-6, 1e-10},
      .per_message = 3e-6,
      .per_added_byte = 1e-10}},
    {"slow",
     {.network = {2e-2, 8e-8},
      .memory = {1e-6, 1e-10},
      .per_message = 3e-6,
      .per_added_byte = 1e-10}},
};

/// Seconds of a sum in the simulation, whose code is what runs.
double simulated(Pattern pattern, int hosts, std::size_t bytes, const Costs& costs) {
  VirtualRanks all(Hosts::alone(hosts), costs, {}, Simulated::kTimes);
  static std::vector<float> untouched(std::size_t{1} << 22);
  const std::vector<std::span<float>> spans(static_cast<std::size_t>(hosts),
                                            std::span(untouched).first(bytes / sizeof(float)));
  return all.run<float>(Collective::kAllReduce, spans, {}, {pattern});
}

std::vector<std::size_t> sizes() {
  return {std::size_t{1} << 10, std::size_t{1} << 14, std::size_t{1} << 18,
          std::size_t{1} << 20, std::size_t{1} << 22, std::size_t{1} << 24};
}

TEST(CostModel, PredictsTheSimulationWithinAFifth) {
  for (const Net& net : kNets) {
    for (const int hosts : {2, 3, 4, 8, 13, 32}) {
      for (const Pattern pattern : {Pattern::kRing, Pattern::kHalving}) {
        for (const std::size_t bytes : sizes()) {
          const double model =
              seconds_of(pattern, {.hosts = static_cast<std::size_t>(hosts)}, bytes, net.costs);
          const double ratio = simulated(pattern, hosts, bytes, net.costs) / model;
          EXPECT_GT(ratio, 0.8) << net.name << " " << hosts << " " << bytes << " "
                                << (pattern == Pattern::kRing ? "ring" : "halving");
          EXPECT_LT(ratio, 1.2) << net.name << " " << hosts << " " << bytes << " "
                                << (pattern == Pattern::kRing ? "ring" : "halving");
        }
      }
    }
  }
}

// What is chosen by the model takes hardly longer, in the simulation, than the better of both.
TEST(CostModel, ChoosesWellFromTwoHostsToManyHundred) {
  for (const Net& net : kNets) {
    for (const int hosts : {2, 3, 5, 16, 64, 130}) {
      const Cluster cluster = {.hosts = static_cast<std::size_t>(hosts)};
      const std::size_t below = halving_below(cluster, net.costs);
      for (const std::size_t bytes :
           {std::size_t{1} << 12, std::size_t{1} << 17, std::size_t{1} << 22}) {
        const double ring = simulated(Pattern::kRing, hosts, bytes, net.costs);
        const double halving = simulated(Pattern::kHalving, hosts, bytes, net.costs);
        const double chosen = bytes < below ? halving : ring;
        EXPECT_LE(chosen, 1.1 * std::min(ring, halving))
            << net.name << " " << hosts << " " << bytes << " below " << below;
      }
    }
  }
}

// Whatever the model says: all but one part goes both ways twice, and latency has to be waited for.
TEST(CostModel, NothingIsFasterThanItsBytes) {
  for (const Net& net : kNets) {
    for (const int hosts : {2, 3, 8, 33}) {
      for (const std::size_t bytes : sizes()) {
        const double least = net.costs.network.latency + 2 * net.costs.network.per_byte *
                                                             static_cast<double>(bytes) *
                                                             (hosts - 1) / hosts;
        for (const Pattern pattern : {Pattern::kRing, Pattern::kHalving}) {
          EXPECT_GE(simulated(pattern, hosts, bytes, net.costs), 0.999 * least);
          EXPECT_GE(
              seconds_of(pattern, {.hosts = static_cast<std::size_t>(hosts)}, bytes, net.costs),
              0.999 * least);
        }
      }
    }
  }
}

TEST(CostModel, MoreLatencyMakesHalvingAndLongBucketsWorthwhile) {
  const Cluster cluster = {.hosts = 16};
  Costs costs = kNets[1].costs;
  const std::size_t below = halving_below(cluster, costs);
  const std::size_t worthwhile = worthwhile_bytes(cluster, costs);
  costs.network.latency *= 10;
  EXPECT_GT(halving_below(cluster, costs), below);
  EXPECT_GT(worthwhile_bytes(cluster, costs), worthwhile);
  EXPECT_GT(worthwhile, 1000u);
  costs.network.latency = costs.per_message = 0;
  EXPECT_LT(worthwhile_bytes(cluster, costs), 1000u);
  EXPECT_EQ(worthwhile_bytes({}, kNets[3].costs), 0u);  // one host has no network
  EXPECT_EQ(halving_below({.hosts = 1, .ranks = 4, .lanes = 4}, kNets[3].costs), 0u);
}

}  // namespace
}  // namespace cllm::collectives
