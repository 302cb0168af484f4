#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "cllm/collectives/simulated_sums.h"
#include "cllm/model/layout.h"
#include "cllm/plan/figures.h"
#include "cllm/plan/step_time.h"
#include "cllm/train/memory_budget.h"
#include "cllm/train/trainer.h"

namespace cllm::plan {

/// What is to be planned.
struct Request {
  /// Of a rank, but for batch and threads. A micro-batch or token block of 0 is chosen.
  train::TrainerOptions options;
  Figures figures;
  Frequencies frequencies = Frequencies::kZipf;
  std::size_t host_batch = 1;                       ///< sequences of a step, for each host
  int ranks_per_host = 0;                           ///< 0: what takes least
  std::optional<collectives::Pattern> forced = {};  ///< how sums go between hosts
  double efficiency = 0.9;                          ///< that is wanted
  /// Bytes that a start from the corpus takes, with so many ranks and threads.
  std::function<std::uint64_t(int ranks, int threads)> statistics = {};
};

/// A step of so many hosts, as it is best shared out.
struct HostsPlan {
  std::size_t hosts = 1, ranks_per_host = 1;
  train::TrainerOptions options;  ///< of a rank
  Ways ways;
  StepTime step;
  double tokens_per_second = 0;
  /// Tokens per second and host over those of one host: weak scaling.
  double efficiency = 1;
  train::MemoryBudget memory;  ///< of rank 0, which writes checkpoints
};

/// Plans steps of one model on more and more hosts. Throws Error, in words for users. One thread at
/// a time.
class Planner {
 public:
  /// The layout must outlive it.
  Planner(const model::Layout& layout, Request request);

  HostsPlan plan(std::size_t hosts) { return plan(hosts, request_.host_batch); }
  /// The fewest sequences for each host, to a quarter of their number, with which each of so many
  /// hosts makes as many tokens a second as the efficiency that is wanted has of one host with the
  /// batch that is planned; nothing where kMostHostBatch don't.
  std::optional<std::size_t> least_host_batch(std::size_t hosts);

  static constexpr std::size_t kMostHostBatch = 1024;

 private:
  /// What doesn't depend on the batch.
  struct Cluster {
    collectives::SimulatedSums sums;
    Ways ways;
    std::vector<Wave> waves;  ///< by Gather::kEven, until they are asked for exactly
    bool are_exact = false;
  };
  Cluster& cluster(std::size_t hosts, std::size_t ranks_per_host);
  std::vector<std::size_t> choices_of_ranks() const;
  train::TrainerOptions share_out(std::size_t hosts, std::size_t ranks_per_host,
                                  std::size_t host_batch) const;
  HostsPlan best(std::size_t hosts, std::size_t host_batch);
  HostsPlan plan(std::size_t hosts, std::size_t host_batch);
  train::MemoryBudget memory(const HostsPlan& plan);

  StepTime step(const HostsPlan& plan);
  void make_exact(Cluster& on) const;

  const model::Layout& layout_;
  Request request_;
  std::map<std::pair<std::size_t, std::size_t>, Cluster> clusters_;
};

}  // namespace cllm::plan
