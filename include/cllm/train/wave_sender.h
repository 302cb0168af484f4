#pragma once

#include <condition_variable>
#include <cstddef>
#include <exception>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include "cllm/ranks/process_group.h"

namespace cllm::train {

/// Sends parts of an array to all ranks, wave by wave, on a thread of its own, while the next are
/// being computed. A rank that is alone has no such thread. All ranks use it alike.
class WaveSender {
 public:
  /// `waves`: of each, the ranks' parts of `values`, which must outlive it, as the process group
  /// must.
  WaveSender(ranks::ProcessGroup& process_group, std::span<float> values,
             std::vector<std::vector<ranks::Part>> waves);
  WaveSender(const WaveSender&) = delete;
  WaveSender& operator=(const WaveSender&) = delete;
  ~WaveSender();

  /// This rank's part of the next wave is there. From the first until `wait` returns, the thread
  /// alone uses the process group.
  void send();
  /// Returns once all ranks' parts of the waves that were sent are there. Throws what the process
  /// group threw. The next to be sent is the first again.
  void wait();

  /// Since the last `wait` but one: that `wait` waited, and that the thread communicated.
  double waited_seconds() const { return waited_; }
  double seconds() const { return last_seconds_; }

 private:
  void run();

  ranks::ProcessGroup& process_group_;
  std::span<float> values_;
  std::vector<std::vector<ranks::Part>> waves_;
  double waited_ = 0, last_seconds_ = 0;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::size_t sent_ = 0, arrived_ = 0;  // waves; these and the following under mutex_
  double seconds_ = 0;
  bool has_ended_ = false;
  std::exception_ptr error_;
  std::thread thread_;
};

}  // namespace cllm::train
