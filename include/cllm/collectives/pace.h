#pragma once

#include <algorithm>
#include <chrono>
#include <thread>

namespace cllm::collectives {

/// How long a thread that polls sleeps when it finds nothing to do. Links differ by factors of a
/// hundred, so what came since the last sleep says how long: long enough that compute threads are
/// not disturbed for every bit, and short enough that there is always something under way.
class Pace {
 public:
  Pace(int shortest_microseconds, int longest_microseconds)
      : shortest_(shortest_microseconds), longest_(longest_microseconds), next_(shortest_) {}

  /// At the beginning of something, which may be short: from the shortest sleep on.
  void restart() { next_ = shortest_ / 2; }
  /// Sleeps, after much or little was done since the last sleep.
  void rest(bool much) {
    next_ = much ? std::max(next_ / 2, shortest_) : std::min(next_ * 2, longest_);
    std::this_thread::sleep_for(std::chrono::microseconds(next_));
  }

 private:
  int shortest_, longest_, next_;
};

}  // namespace cllm::collectives
