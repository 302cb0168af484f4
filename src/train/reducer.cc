#include "cllm/train/reducer.h"

#include <utility>

#include "cllm/ranks/heartbeat.h"

namespace cllm::train {

Reducer::Reducer(GradientAccumulator& sums, ParameterExchange& exchange,
                 ranks::ProcessGroup& process_group, std::size_t events)
    : sums_(sums), exchange_(exchange), process_group_(process_group), recorder_(events) {
  if (process_group.size() > 1) thread_ = std::thread([this] { run(); });
}

Reducer::~Reducer() {
  if (!thread_.joinable()) return;
  {
    const std::lock_guard lock(mutex_);
    state_ = kEnded;
  }
  changed_.notify_all();
  thread_.join();
}

void Reducer::start() {
  if (!thread_.joinable()) return;
  recorder_.reset();
  {
    const std::lock_guard lock(mutex_);
    state_ = kBusy;
  }
  changed_.notify_all();
}

void Reducer::wait() {
  if (!thread_.joinable()) return;
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return state_ != kBusy; });
  if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
}

void Reducer::run() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [&] { return state_ != kIdle; });
    if (state_ == kEnded) return;
    lock.unlock();
    std::exception_ptr error;
    try {
      reduce_all();
    } catch (...) {
      error = std::current_exception();
    }
    lock.lock();
    error_ = error;
    if (state_ == kBusy) state_ = kIdle;
    changed_.notify_all();
  }
}

void Reducer::reduce_all() {
  if (exchange_.is_pending()) {
    const Span span(recorder_, Activity::kAllGather);
    exchange_.run();
  }
  for (std::size_t bucket = 0; bucket < sums_.buckets().size(); ++bucket) {
    {
      const Span span(recorder_, Activity::kWait);
      sums_.wait_complete(bucket);
    }
    const Span span(recorder_, Activity::kAllreduce, static_cast<int>(bucket));
    ranks::heartbeat().sum_of(static_cast<int>(bucket));
    sums_.reduce(bucket, process_group_);
  }
  ranks::heartbeat().sum_of(-1);
}

}  // namespace cllm::train
