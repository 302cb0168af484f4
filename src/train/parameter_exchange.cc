#include "cllm/train/parameter_exchange.h"

#include <algorithm>
#include <utility>

#include "cllm/base/stopwatch.h"

namespace cllm::train {

GatherOrder::GatherOrder(const model::Layout& layout, std::span<const Bucket> buckets)
    : needed(layout.groups().size()) {
  // The token embedding is what forward begins with: with the head's where they are tied, else
  // where it is in no bucket.
  const bool head_first = layout.trains_table() && layout.is_tied();
  if (head_first) {
    pieces.emplace_back(0);
  } else if (layout.trains_table()) {
    pieces.emplace_back();
  }
  needed.back() = pieces.size();
  for (std::size_t b = buckets.size(); b-- > 0;) {
    const bool is_first = b == 0 && head_first;
    if (!is_first) pieces.emplace_back(b);
    for (std::size_t group = buckets[b].first_group; group < buckets[b].end_group; ++group) {
      needed[group] = std::max(needed[group], is_first ? 1 : pieces.size());
    }
  }
}

ParameterExchange::ParameterExchange(const model::Layout& layout, std::span<const Bucket> buckets,
                                     const Ownership& ownership, ranks::ProcessGroup& process_group)
    : ranks_(ownership.ranks()),
      process_group_(process_group),
      order_(layout, buckets),
      arrived_(0) {
  for (const std::optional<std::size_t>& bucket : order_.pieces) {
    parts_.push_back(bucket ? ownership.bucket(*bucket) : ownership.table());
  }
  arrived_ = parts_.size();
}

void ParameterExchange::begin(std::span<float> parameters) {
  if (ranks_ == 0) return;
  parameters_ = parameters;
  arrived_ = 0;
}

void ParameterExchange::run() {
  if (!is_pending()) return;
  const std::span<float> parameters = std::exchange(parameters_, {});
  const auto let_through = [&](std::size_t count) {
    arrived_.store(count, std::memory_order_release);
    arrived_.notify_all();
  };
  try {
    for (std::size_t i = 0; i < parts_.size(); ++i) {
      process_group_.all_gather(parameters, parts_[i]);
      let_through(i + 1);
    }
  } catch (...) {
    let_through(parts_.size());  // the step is over, and what it computes is of no use
    throw;
  }
}

void ParameterExchange::wait_for(std::size_t group, Recorder& recorder) {
  const std::size_t needed = order_.needed[group];
  std::size_t arrived = arrived_.load(std::memory_order_acquire);
  if (arrived >= needed) return;
  const Span span(recorder, Activity::kWait);
  Stopwatch clock;
  for (; arrived < needed; arrived = arrived_.load(std::memory_order_acquire)) {
    arrived_.wait(arrived, std::memory_order_acquire);
  }
  waited_.fetch_add(clock.elapsed());
}

}  // namespace cllm::train
