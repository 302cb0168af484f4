#include "cllm/plan/planner.h"

#include <algorithm>
#include <span>
#include <string>
#include <utility>

#include "cllm/base/error.h"
#include "cllm/ranks/process_group.h"
#include "cllm/train/work_sharing.h"

namespace cllm::plan {
namespace {

using train::TrainerOptions;

/// OpenBLAS has buffers for as many threads of a rank.
constexpr int kMostThreads = 64;

constexpr std::size_t kMostRanksPerHost = 8;

/// Shorter token blocks are slower than their operations say.
constexpr std::size_t kShortestBlock = 64;

/// What is quicker by less than that is not worth another choice.
constexpr double kBetter = 0.995;

/// Rank 0 of a cluster, as far as memory goes.
class PlannedRank final : public ranks::ProcessGroup {
 public:
  PlannedRank(std::size_t size, std::size_t buffer_bytes)
      : size_(static_cast<int>(size)), buffer_bytes_(buffer_bytes) {}

  int rank() const override { return 0; }
  int size() const override { return size_; }
  std::uint64_t buffer_bytes() const override { return size_ == 1 ? 0 : buffer_bytes_; }
  void use(ranks::Allreduce) override {}
  void all_reduce(std::span<float>) override { refuse(); }
  void all_reduce(std::span<std::int32_t>) override { refuse(); }
  void all_reduce(std::span<std::int64_t>) override { refuse(); }
  std::string broadcast(std::string) override { refuse(); }
  std::vector<std::string> all_gather(const std::string&) override { refuse(); }
  void all_gather(std::span<float>, std::span<const ranks::Part>) override { refuse(); }

 private:
  [[noreturn]] static void refuse() { fail("a planned rank has nobody to speak to"); }

  int size_;
  std::size_t buffer_bytes_;
};

/// Token blocks that share a micro-batch of so many positions evenly out to more and more threads,
/// the usual one first.
std::vector<std::size_t> token_blocks(const TrainerOptions& options, std::size_t positions,
                                      std::size_t batch_positions) {
  if (options.token_block > 0) return {std::min(options.token_block, positions)};
  std::vector<std::size_t> blocks = {train::default_token_block(batch_positions, positions)};
  for (int threads = 1; threads <= options.threads; ++threads) {
    const auto n = static_cast<std::size_t>(threads);
    const std::size_t block = (positions + 16 * n - 1) / (16 * n) * 16;
    if (block < kShortestBlock && n > 1) break;
    if (block < blocks.back() || blocks.size() == 1) blocks.push_back(std::min(block, positions));
  }
  return blocks;
}

/// Micro-batches that share a host's sequences evenly out to its ranks, the usual one first.
std::vector<std::size_t> micro_batches(const TrainerOptions& options, std::size_t host_batch,
                                       std::size_t ranks, std::size_t context) {
  if (options.micro_batch > 0) return {std::min(options.micro_batch, options.batch)};
  std::vector<std::size_t> sizes = {train::default_micro_batch(options.batch, context)};
  for (std::size_t size = 1; size * ranks <= host_batch; ++size) {
    if (host_batch % (size * ranks) == 0) sizes.push_back(size);
  }
  return sizes;
}

}  // namespace

Planner::Planner(const model::Layout& layout, Request request)
    : layout_(layout), request_(std::move(request)) {
  const int cores = request_.figures.cores;
  if (request_.host_batch < 1 || request_.host_batch > kMostHostBatch) {
    fail("--host-batch {}: give a number of sequences from 1 to {}", request_.host_batch,
         kMostHostBatch);
  }
  if (request_.ranks_per_host < 0 || request_.ranks_per_host > cores) {
    fail("--ranks-per-host {}: give a number from 1 to the {} cores of a host, or auto",
         request_.ranks_per_host, cores);
  }
  if (!(request_.efficiency > 0 && request_.efficiency < 1)) {
    fail("--efficiency {}: give a number between 0 and 1", request_.efficiency);
  }
}

std::vector<std::size_t> Planner::choices_of_ranks() const {
  if (request_.ranks_per_host > 0) return {static_cast<std::size_t>(request_.ranks_per_host)};
  const auto cores = static_cast<std::size_t>(request_.figures.cores);
  std::vector<std::size_t> choices;
  for (std::size_t ranks = 1; ranks <= kMostRanksPerHost; ranks *= 2) {
    if (cores % ranks == 0 && cores / ranks <= kMostThreads) choices.push_back(ranks);
  }
  if (choices.empty()) {
    fail("--cores {}: a rank has at most {} threads; give --ranks-per-host, too", cores,
         kMostThreads);
  }
  return choices;
}

Planner::Cluster& Planner::cluster(std::size_t hosts, std::size_t ranks_per_host) {
  const auto known = clusters_.find({hosts, ranks_per_host});
  if (known != clusters_.end()) return known->second;
  const collectives::Costs& costs = request_.figures.costs;
  Cluster cluster{
      .sums = collectives::SimulatedSums(hosts, ranks_per_host, costs),
      .ways = {.choice = {}, .forced = request_.forced, .reduce = request_.options.reduce},
      .waves = {}};
  cluster.ways.choice = collectives::choose(cluster.sums.cluster(), costs);
  cluster.waves =
      waves_of(layout_, request_.options.optimizer, cluster.ways, Gather::kEven, cluster.sums);
  return clusters_.emplace(std::pair(hosts, ranks_per_host), std::move(cluster)).first->second;
}

/// The micro-batch and the token block with which a rank computes least.
TrainerOptions Planner::share_out(std::size_t hosts, std::size_t ranks_per_host,
                                  std::size_t host_batch) const {
  const std::size_t context = layout_.config().context, ranks = hosts * ranks_per_host;
  TrainerOptions options = request_.options;
  options.threads = request_.figures.cores / static_cast<int>(ranks_per_host);
  options.batch = hosts * host_batch;
  TrainerOptions best = options;
  double least = 0;
  for (const std::size_t micro_batch :
       micro_batches(options, host_batch, ranks_per_host, context)) {
    TrainerOptions tried = options;
    tried.micro_batch = micro_batch;
    for (const std::size_t block :
         token_blocks(options, micro_batch * context, options.batch * context)) {
      tried.token_block = block;
      const double seconds =
          relative_compute(layout_, tried, ranks) * micro_batch_flops(layout_, tried);
      if (least > 0 && seconds > least * kBetter) continue;
      least = seconds;
      best = tried;
    }
  }
  return best;
}

HostsPlan Planner::best(std::size_t hosts, std::size_t host_batch) {
  std::optional<HostsPlan> best;
  for (const std::size_t ranks_per_host : choices_of_ranks()) {
    Cluster& on = cluster(hosts, ranks_per_host);
    HostsPlan plan{.hosts = hosts,
                   .ranks_per_host = ranks_per_host,
                   .options = share_out(hosts, ranks_per_host, host_batch),
                   .ways = on.ways,
                   .step = {},
                   .memory = {}};
    plan.step = step(plan);
    if (best && plan.step.seconds() > best->step.seconds() * kBetter) continue;
    best = std::move(plan);
  }
  Cluster& on = cluster(hosts, best->ranks_per_host);
  if (!on.are_exact && !best->options.shard) {  // with shards there are no waves
    make_exact(on);
    best->step = step(*best);
  }
  return *best;
}

void Planner::make_exact(Cluster& on) const {
  on.waves = waves_of(layout_, request_.options.optimizer, on.ways, Gather::kExact, on.sums);
  on.are_exact = true;
}

StepTime Planner::step(const HostsPlan& plan) {
  Cluster& on = cluster(plan.hosts, plan.ranks_per_host);
  return step_time(layout_, plan.options, request_.figures, request_.frequencies, on.ways, on.waves,
                   on.sums);
}

HostsPlan Planner::plan(std::size_t hosts, std::size_t host_batch) {
  if (hosts * host_batch > train::kLargestBatch) {
    fail("--host-batch {} on {} hosts: a step has at most {} sequences; give fewer", host_batch,
         hosts, train::kLargestBatch);
  }
  HostsPlan plan = best(hosts, host_batch);
  if (hosts > 1) plan.efficiency = best(1, host_batch).step.seconds() / plan.step.seconds();
  plan.tokens_per_second =
      static_cast<double>(plan.options.batch * layout_.config().context) / plan.step.seconds();
  plan.memory = memory(plan);
  return plan;
}

train::MemoryBudget Planner::memory(const HostsPlan& plan) {
  Cluster& on = cluster(plan.hosts, plan.ranks_per_host);
  const PlannedRank rank(on.sums.hosts().all_ranks(), on.sums.bytes_per_rank());
  const std::uint64_t statistics =
      request_.statistics ? request_.statistics(rank.size(), plan.options.threads) : 0;
  return train::memory_budget(layout_, plan.options, true, statistics, rank);
}

std::optional<std::size_t> Planner::least_host_batch(std::size_t hosts) {
  const auto speed = [&](std::size_t of, std::size_t host_batch) {
    return static_cast<double>(host_batch) / best(of, host_batch).step.seconds();
  };
  const double wanted = request_.efficiency * speed(1, request_.host_batch);
  const std::size_t most = std::min(kMostHostBatch, train::kLargestBatch / hosts);
  std::size_t step = 1;
  for (std::size_t host_batch = 1; host_batch <= most; host_batch += step) {
    if (speed(hosts, host_batch) >= wanted) return host_batch;
    if (host_batch >= 4 * step) step *= 2;
  }
  return std::nullopt;
}

}  // namespace cllm::plan
