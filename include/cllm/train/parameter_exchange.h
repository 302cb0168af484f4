#pragma once

#include <atomic>
#include <cstddef>
#include <optional>
#include <span>
#include <vector>

#include "cllm/model/arrivals.h"
#include "cllm/model/layout.h"
#include "cllm/ranks/process_group.h"
#include "cllm/train/buckets.h"
#include "cllm/train/ownership.h"

namespace cllm::train {

/// In which order buckets of parameters travel, and what forward waits for.
struct GatherOrder {
  GatherOrder(const model::Layout& layout, std::span<const Bucket> buckets);

  /// Buckets one after the other; nothing stands for the token embedding, where that is in none.
  std::vector<std::optional<std::size_t>> pieces;
  /// How many of the first of them each group needs, by its number in Layout::groups.
  std::vector<std::size_t> needed;
};

/// Gives all ranks what each has updated of the parameters: Note [Sharded state]. Bucket by bucket,
/// in the order in which forward needs them, while forward goes on. Without shards nothing ever is
/// on its way. Allocates nothing after construction.
class ParameterExchange final : public model::Arrivals {
 public:
  /// The references must outlive it.
  ParameterExchange(const model::Layout& layout, std::span<const Bucket> buckets,
                    const Ownership& ownership, ranks::ProcessGroup& process_group);

  /// From now on parameters are on their way: each rank has updated what it owns of them.
  void begin(std::span<float> parameters);
  /// Whether `run` has something to do.
  bool is_pending() const { return !parameters_.empty(); }
  /// Sends and receives all that is on its way. All ranks call it alike, one thread of each. Throws
  /// what the process group throws; who waits goes on even then.
  void run();

  void wait_for(std::size_t group, Recorder& recorder) override;
  /// Seconds that threads waited since the last call, added up.
  double take_waited_seconds() { return waited_.exchange(0); }

 private:
  const std::size_t ranks_;
  ranks::ProcessGroup& process_group_;
  const GatherOrder order_;
  std::vector<std::span<const ranks::Part>> parts_;  // by ranks, of each of its pieces
  std::span<float> parameters_;                      // none while nothing is on its way
  std::atomic<std::size_t> arrived_;
  std::atomic<double> waited_{0};
};

}  // namespace cllm::train
