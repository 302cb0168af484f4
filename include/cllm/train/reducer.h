#pragma once

#include <condition_variable>
#include <cstddef>
#include <exception>
#include <mutex>
#include <thread>

#include "cllm/base/recorder.h"
#include "cllm/ranks/process_group.h"
#include "cllm/train/gradient_accumulator.h"
#include "cllm/train/parameter_exchange.h"

namespace cllm::train {

/// A rank's communication thread: sums each bucket over the ranks as soon as this rank's part of it
/// is complete, while the compute threads go on; before that, parameters that are on their way.
/// Nothing else progresses communication while compute threads are inside matrix products. A rank
/// that is alone has no such thread.
class Reducer {
 public:
  /// The references must outlive it. `events`: room of its recorder.
  Reducer(GradientAccumulator& sums, ParameterExchange& exchange,
          ranks::ProcessGroup& process_group, std::size_t events);
  Reducer(const Reducer&) = delete;
  Reducer& operator=(const Reducer&) = delete;
  ~Reducer();

  /// Begins with what is on its way, and with the first bucket of a step. Until `wait` returns, the
  /// thread alone uses the process group.
  void start();
  /// Returns once all buckets are summed. Throws what the process group threw.
  void wait();

  /// Seconds since the last start that went into communication.
  double seconds() const {
    return recorder_.seconds(Activity::kAllreduce) + recorder_.seconds(Activity::kAllGather);
  }
  Recorder& recorder() { return recorder_; }

 private:
  void run();
  void reduce_all();

  GradientAccumulator& sums_;
  ParameterExchange& exchange_;
  ranks::ProcessGroup& process_group_;
  Recorder recorder_;
  std::mutex mutex_;
  std::condition_variable changed_;
  enum { kIdle, kBusy, kEnded } state_ = kIdle;  // under mutex_
  std::exception_ptr error_;                     // under mutex_
  std::thread thread_;
};

}  // namespace cllm::train
