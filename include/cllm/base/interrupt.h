#pragma once

namespace cllm {

/// While it lives, SIGINT (Ctrl-C) is noted instead of ending the program. Where it was ignored
/// before, it still is. At most one at a time, and none beside StopSignals that haven't given up.
class Interrupt {
 public:
  Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;
  /// What SIGINT did before, it does again.
  ~Interrupt();

  /// Whether one came since `clear`. Thread-safe.
  bool came() const;
  void clear();
};

}  // namespace cllm
