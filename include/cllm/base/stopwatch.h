#pragma once

#include <chrono>

namespace cllm {

/// Measures wall-clock time in seconds.
class Stopwatch {
 public:
  /// Since the start, or the last lap.
  double lap() {
    const auto now = std::chrono::steady_clock::now();
    const std::chrono::duration<double> taken = now - start_;
    start_ = now;
    return taken.count();
  }
  /// The same without starting anew.
  double elapsed() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace cllm
