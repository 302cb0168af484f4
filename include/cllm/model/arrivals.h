#pragma once

#include <cstddef>

#include "cllm/base/recorder.h"

namespace cllm::model {

/// Parameters that come while a training pass is already on its way: it waits for those of a group
/// when it gets there.
class Arrivals {
 public:
  virtual ~Arrivals() = default;

  /// Returns once all parameters are there that forward needs for the parts of a group, by its
  /// number in Layout::groups. Thread-safe; `recorder` is the calling thread's.
  virtual void wait_for(std::size_t group, Recorder& recorder) = 0;
};

}  // namespace cllm::model
