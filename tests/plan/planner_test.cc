#include "cllm/plan/planner.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "a_model.h"
#include "cllm/model/network.h"
#include "cllm/train/memory_budget.h"
#include "support/error_of.h"

namespace cllm::plan {
namespace {

Request a_request() {
  return {.options = some_options(), .figures = some_figures(), .host_batch = 4};
}

HostsPlan plan_of(const Request& request, std::size_t hosts) {
  const model::Layout layout = a_model();
  return Planner(layout, request).plan(hosts);
}

TEST(Planner, OneHostOfOneRankHasNoCommunication) {
  const HostsPlan plan = plan_of(a_request(), 1);
  EXPECT_EQ(plan.ranks_per_host, 1u);
  EXPECT_EQ(plan.step.communication(), 0);
  EXPECT_EQ(plan.efficiency, 1);
  EXPECT_EQ(plan.memory.communication, 0u);
}

// All 64 threads have as much to do: teams of 16, each with a sequence, and a block for each.
TEST(Planner, SharesASequenceOutToAllThreads) {
  const HostsPlan plan = plan_of(a_request(), 1);
  const std::size_t blocks = plan.options.micro_batch * 1024 / plan.options.token_block;
  EXPECT_EQ(4 / plan.options.micro_batch * blocks, 64u);
  EXPECT_EQ(plan.options.threads, 64);
}

TEST(Planner, EfficiencyIsAtMostOneAndFallsWithHosts) {
  const model::Layout layout = a_model();
  Planner planner(layout, a_request());
  double before = 1, tokens = 0;
  for (const std::size_t hosts : std::vector<std::size_t>{1, 2, 4, 8, 64, 256}) {
    const HostsPlan plan = planner.plan(hosts);
    EXPECT_LE(plan.efficiency, before + 0.01) << hosts;  // buckets differ, and the ways of sums
    EXPECT_LE(plan.efficiency, 1);
    EXPECT_GT(plan.efficiency, 0.3);
    EXPECT_GT(plan.tokens_per_second, tokens);
    EXPECT_NEAR(plan.tokens_per_second, static_cast<double>(hosts * 4 * 1024) / plan.step.seconds(),
                1e-3);
    before = plan.efficiency;
    tokens = plan.tokens_per_second;
  }
}

TEST(Planner, MoreBandwidthAndLargerBatchesAreNeverWorse) {
  Request request = a_request();
  double before = 0;
  for (const double gbit : {0.1, 1.0, 10.0, 25.0, 100.0}) {
    request.figures.costs.network.per_byte = 8e-9 / gbit;
    const double efficiency = plan_of(request, 16).efficiency;
    EXPECT_GT(efficiency, before) << gbit;
    before = efficiency;
  }
  request = a_request();
  request.figures.costs.network.per_byte = 8e-9;
  before = 0;
  for (const std::size_t batch : std::vector<std::size_t>{4, 8, 16}) {  // fewer leave threads idle
    request.host_batch = batch;
    const double efficiency = plan_of(request, 16).efficiency;
    EXPECT_GT(efficiency, before) << batch;
    before = efficiency;
  }
}

TEST(Planner, FindsTheLeastHostBatch) {
  const model::Layout layout = a_model();
  Request request = a_request();
  request.figures.costs.network.per_byte = 8e-9 / 10;
  const auto least = Planner(layout, request).least_host_batch(16);
  ASSERT_TRUE(least.has_value());
  const double one = Planner(layout, request).plan(1).tokens_per_second;
  request.host_batch = *least;
  EXPECT_GE(plan_of(request, 16).tokens_per_second, 16 * request.efficiency * one);
  request.host_batch = *least / 2;
  EXPECT_LT(plan_of(request, 16).tokens_per_second, 16 * request.efficiency * one);
  request.host_batch = 4;
  EXPECT_EQ(Planner(layout, request).least_host_batch(1), 4u);  // fewer leave threads idle
  request.figures.costs.network.per_byte = 8;                   // a bit in a second
  EXPECT_FALSE(Planner(layout, request).least_host_batch(16).has_value());
}

/// A process group like that of the plan.
class Group final : public ranks::ProcessGroup {
 public:
  Group(int size, std::uint64_t bytes) : size_(size), bytes_(bytes) {}
  int rank() const override { return 0; }
  int size() const override { return size_; }
  std::uint64_t buffer_bytes() const override { return bytes_; }
  void use(ranks::Allreduce) override {}
  void all_reduce(std::span<float>) override {}
  void all_reduce(std::span<std::int32_t>) override {}
  void all_reduce(std::span<std::int64_t>) override {}
  std::string broadcast(std::string bytes) override { return bytes; }
  std::vector<std::string> all_gather(const std::string&) override { return {}; }
  void all_gather(std::span<float>, std::span<const ranks::Part>) override {}

 private:
  int size_;
  std::uint64_t bytes_;
};

TEST(Planner, MemoryIsThatOfTheBudget) {
  const model::Layout layout = a_model();
  Request request = a_request();
  request.statistics = [](int ranks, int threads) {
    return static_cast<std::uint64_t>(1000 * ranks + threads);
  };
  for (const std::size_t hosts : std::vector<std::size_t>{1, 16}) {
    const HostsPlan plan = Planner(layout, request).plan(hosts);
    const collectives::Tuning tuning;
    const Group group(static_cast<int>(hosts),
                      hosts == 1 ? 0 : tuning.in_flight * tuning.segment_bytes);
    train::MemoryBudget budget =
        train::memory_budget(layout, plan.options, true, 1000 * hosts + 64, group);
    budget.program = plan.memory.program;  // it may have grown since
    EXPECT_EQ(plan.memory.total(), budget.total());
    EXPECT_EQ(plan.memory.sums, budget.sums);
    EXPECT_EQ(plan.memory.statistics, budget.statistics);
  }
}

TEST(Planner, KeepsWhatWasAskedFor) {
  Request request = a_request();
  request.ranks_per_host = 4;
  request.options.micro_batch = 1;
  request.options.token_block = 128;
  request.forced = collectives::Pattern::kRing;
  const HostsPlan plan = plan_of(request, 2);
  EXPECT_EQ(plan.ranks_per_host, 4u);
  EXPECT_EQ(plan.options.threads, 16);
  EXPECT_EQ(plan.options.micro_batch, 1u);
  EXPECT_EQ(plan.options.token_block, 128u);
  for (const BucketTime& bucket : plan.step.buckets) {
    EXPECT_EQ(bucket.pattern, collectives::Pattern::kRing);
  }
}

// Ranks of a host each update all of the model: so one of them is the quickest, where it may have
// as many threads.
TEST(Planner, ChoosesAsFewRanksAsMayHaveAllThreads) {
  Request request = a_request();
  EXPECT_EQ(plan_of(request, 4).ranks_per_host, 1u);
  request.figures.cores = 128;
  EXPECT_EQ(plan_of(request, 4).ranks_per_host, 2u);
}

TEST(Planner, RefusesWhatMakesNoSense) {
  const auto error = [](auto change) {
    Request request = a_request();
    change(request);
    return support::error_of([&] { plan_of(request, 4); });
  };
  const auto has = [](const std::string& text, const char* part) {
    return text.find(part) != std::string::npos;
  };
  EXPECT_TRUE(has(error([](Request& r) { r.host_batch = 0; }), "--host-batch 0"));
  EXPECT_TRUE(has(error([](Request& r) { r.ranks_per_host = 65; }), "--ranks-per-host 65"));
  EXPECT_TRUE(has(error([](Request& r) { r.efficiency = 1.5; }), "--efficiency 1.5"));
  EXPECT_TRUE(has(error([](Request& r) { r.figures.cores = 1001; }), "--cores 1001"));
  Request large = a_request();
  large.host_batch = 1024;
  EXPECT_TRUE(has(support::error_of([&] { plan_of(large, 2048); }), "--host-batch 1024 on 2048"));
}

TEST(Figures, MissingOrImpossibleOnesAreRefused) {
  const auto error = [](auto change, std::size_t hosts = 2) {
    Figures figures = some_figures();
    change(figures);
    return support::error_of([&] { validate(figures, hosts); });
  };
  EXPECT_EQ(error([](Figures& f) { f.cores = 0; }),
            "--cores 0: give the cores of a host that compute, at least 1");
  EXPECT_EQ(error([](Figures& f) { f.core_flops = -1e9; }),
            "--core-gflops -1: give a number above 0");
  EXPECT_EQ(error([](Figures& f) { f.costs.network.per_byte = 8e-9 / -5; }),
            "--gbit -5: give a number above 0");
  EXPECT_EQ(error([](Figures& f) { f.costs.network.latency = -2e-6; }),
            "--latency-us -2: give a number from 0 upward");
  EXPECT_EQ(error([](Figures& f) { f.stolen_per_byte = -1e-9; }),
            "--sum-ns -1: give a number from 0 upward");
  validate(some_figures(), 1024);
  Figures no_network = some_figures();
  no_network.costs.network = {};
  validate(no_network, 1);  // one host needs none
}

}  // namespace
}  // namespace cllm::plan
