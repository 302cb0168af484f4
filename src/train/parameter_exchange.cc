#include "cllm/train/parameter_exchange.h"

#include <algorithm>
#include <utility>

#include "cllm/base/stopwatch.h"

namespace cllm::train {

ParameterExchange::ParameterExchange(const model::Layout& layout, std::span<const Bucket> buckets,
                                     const Ownership& ownership, ranks::ProcessGroup& process_group)
    : ranks_(ownership.ranks()),
      process_group_(process_group),
      needed_(layout.groups().size()),
      arrived_(0) {
  if (!ownership.is_sharded()) return;
  // The token embedding is what forward begins with: with the head's where they are tied, else
  // where it is in no bucket.
  std::vector<bool> is_sent(buckets.size());
  const auto send = [&](std::size_t bucket) {
    if (!is_sent[bucket]) order_.push_back(ownership.bucket(bucket));
    is_sent[bucket] = true;
  };
  if (layout.trains_table()) {
    if (layout.is_tied()) {
      send(0);
    } else {
      order_.push_back(ownership.table());
    }
  }
  const std::size_t table = order_.size();
  std::vector<std::size_t> position(buckets.size());
  for (std::size_t b = buckets.size(); b-- > 0;) {
    position[b] = is_sent[b] ? table : order_.size() + 1;
    send(b);
  }
  needed_.back() = table;
  for (std::size_t b = 0; b < buckets.size(); ++b) {
    for (std::size_t group = buckets[b].first_group; group < buckets[b].end_group; ++group) {
      needed_[group] = std::max(needed_[group], position[b]);
    }
  }
  arrived_ = order_.size();
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
    for (std::size_t i = 0; i < order_.size(); ++i) {
      process_group_.all_gather(parameters, order_[i]);
      let_through(i + 1);
    }
  } catch (...) {
    let_through(order_.size());  // the step is over, and what it computes is of no use
    throw;
  }
}

void ParameterExchange::wait_for(std::size_t group, Recorder& recorder) {
  const std::size_t needed = needed_[group];
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
