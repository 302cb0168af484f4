#pragma once

namespace cllm {

/// While it lives, SIGUSR1, SIGUSR2 and SIGTERM, and those of a terminal, SIGINT (Ctrl-C) and
/// SIGHUP (it was closed), ask the program to stop when it suits, instead of ending it. A second
/// SIGINT ends it at once. Those of a terminal that were ignored before (nohup) still are. At most
/// one at a time.
class StopSignals {
 public:
  StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;
  /// What these signals did before, they do again.
  ~StopSignals() { restore(); }

  /// The number of the last one that came; 0 where none did. Thread-safe.
  int received() const;

  /// For what need not be stopped with care: these signals do what they did before, and the last
  /// that came does it now.
  void give_up();

 private:
  void restore();
};

}  // namespace cllm
