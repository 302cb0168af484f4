#include "cllm/train/wave_sender.h"

#include <utility>

#include "cllm/base/stopwatch.h"

namespace cllm::train {

WaveSender::WaveSender(ranks::ProcessGroup& process_group, std::span<float> values,
                       std::vector<std::vector<ranks::Part>> waves)
    : process_group_(process_group), values_(values), waves_(std::move(waves)) {
  if (process_group.size() > 1) thread_ = std::thread([this] { run(); });
}

WaveSender::~WaveSender() {
  if (!thread_.joinable()) return;
  {
    const std::lock_guard lock(mutex_);
    has_ended_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void WaveSender::send() {
  if (!thread_.joinable()) return;
  {
    const std::lock_guard lock(mutex_);
    ++sent_;
  }
  changed_.notify_all();
}

void WaveSender::wait() {
  if (!thread_.joinable()) return;
  Stopwatch clock;
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return arrived_ == sent_ || error_; });
  waited_ = clock.lap();
  last_seconds_ = std::exchange(seconds_, 0);
  sent_ = arrived_ = 0;
  if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
}

void WaveSender::run() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [&] { return has_ended_ || (arrived_ < sent_ && !error_); });
    if (has_ended_) return;
    const std::size_t wave = arrived_;
    lock.unlock();
    std::exception_ptr error;
    Stopwatch clock;
    try {
      process_group_.all_gather(values_, waves_[wave]);
    } catch (...) {
      error = std::current_exception();
    }
    lock.lock();
    seconds_ += clock.lap();
    error_ = error;
    if (!error) ++arrived_;
    changed_.notify_all();
  }
}

}  // namespace cllm::train
