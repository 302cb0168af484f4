#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <string>

namespace cllm::ranks {

/// What a rank is doing at a moment, as it tells the others. Plain bytes, which travel.
struct Beat {
  std::uint64_t step = 0;      ///< that it takes, or took last; 0 before the first
  std::uint64_t progress = 0;  ///< grows with every exchange that begins, moves data or ends
  std::int32_t bucket = -1;    ///< whose sum it is; -1 for another exchange
  std::uint8_t waits = 0;      ///< it is in an exchange with the other ranks
  std::uint8_t leaves = 0;     ///< it is at its end, and needs no watching
  std::array<char, 42> doing{};

  /// "in the sum of bucket 2 at step 17", "preparing the data".
  std::string text() const;
};

/// How long the watchdog bears what looks like a fault: so many seconds, and at least so many times
/// the longest step that was taken.
struct Patience {
  double seconds = 60;
  double steps = 10;
};

/// What this process is doing, and how patient its watchdog is (Note [Watchdog]). Costs a few
/// stores where it is told and never allocates. Thread-safe.
class Heartbeat {
 public:
  void begin_step(std::uint64_t step) { step_.store(step, kRelaxed); }
  /// The bucket whose sum the following exchanges are; -1 for none.
  void sum_of(int bucket) { bucket_.store(bucket, kRelaxed); }
  /// Data of an exchange moved.
  void progress() { progress_.fetch_add(1, kRelaxed); }

  void set_patience(Patience patience) {
    seconds_.store(patience.seconds, kRelaxed);
    steps_.store(patience.steps, kRelaxed);
  }
  Patience patience() const { return {seconds_.load(kRelaxed), steps_.load(kRelaxed)}; }

  Beat beat() const;

 private:
  friend class Doing;
  friend class Exchange;
  static constexpr std::memory_order kRelaxed = std::memory_order_relaxed;

  std::atomic<const char*> doing_ = "starting";
  std::atomic<const char*> exchange_ = nullptr;  ///< what the rank waits in, if it does
  std::atomic<std::uint64_t> step_ = 0, progress_ = 0;
  std::atomic<std::int32_t> bucket_ = -1;
  std::atomic<double> seconds_ = Patience().seconds, steps_ = Patience().steps;
};

/// This process's.
Heartbeat& heartbeat();

/// While it lives, the process is doing `what`: a literal such as "preparing the data". The main
/// thread's alone; may be nested.
class Doing {
 public:
  explicit Doing(const char* what) : before_(heartbeat().doing_.exchange(what)) {}
  Doing(const Doing&) = delete;
  Doing& operator=(const Doing&) = delete;
  ~Doing() { heartbeat().doing_ = before_; }

 private:
  const char* before_;
};

/// While it lives, the process is in an exchange with the other ranks, which only goes on when all
/// take part: a literal such as "a sum". Of the thread that communicates; may be nested.
class Exchange {
 public:
  explicit Exchange(const char* what) : before_(heartbeat().exchange_.exchange(what)) {
    heartbeat().progress();
  }
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;
  ~Exchange() {
    heartbeat().exchange_ = before_;
    heartbeat().progress();
  }

 private:
  const char* before_;
};

}  // namespace cllm::ranks
