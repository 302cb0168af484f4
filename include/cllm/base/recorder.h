#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace cllm {

/// What a thread does in a training step.
enum class Activity : std::uint8_t {
  kForward,
  kLmHead,
  kBackward,
  kAttention,
  kMatrix,     ///< a matrix product outside of attention and head
  kNodeSum,    ///< adding a gradient to the node's
  kAllreduce,  ///< or its first half, where each rank gets a part
  kAllGather,  ///< parameters that ranks send each other
  kUpdate,
  kOrthogonalise,  ///< of Muon's updates
  kWait,           ///< for other threads or ranks
  kCount
};

/// "forward", "head", …
std::string_view name_of(Activity activity);

/// Where one thread's time goes: seconds by activity, an inner one's time being its own and not its
/// outer one's, and, while `trace` is on, every activity with its beginning and end. Never
/// allocates after construction. One thread at a time.
class Recorder {
 public:
  using Clock = std::chrono::steady_clock;

  /// An activity that ended. `index` tells layers or buckets apart; -1 for none.
  struct Event {
    Activity activity;
    int index;
    Clock::time_point begin, end;
  };

  /// Room for `events`; what comes beyond is counted, not kept.
  explicit Recorder(std::size_t events = 0) { events_.reserve(events); }

  void begin(Activity activity, int index) {
    const Clock::time_point now = Clock::now();
    charge(now);
    stack_[depth_++] = {activity, index, now, now};
  }
  void end() {
    const Clock::time_point now = Clock::now();
    charge(now);
    Event& event = stack_[--depth_];
    event.end = now;
    if (!tracing_) return;
    if (events_.size() < events_.capacity()) {
      events_.push_back(event);
    } else {
      ++dropped_;
    }
  }

  /// From now on, or no more. What was recorded stays until it is begun anew.
  void trace(bool on) {
    if (on && !tracing_) {
      events_.clear();
      dropped_ = 0;
    }
    tracing_ = on;
  }
  const std::vector<Event>& events() const { return events_; }
  std::size_t dropped() const { return dropped_; }

  /// Seconds spent in the activity since the last reset, without those of activities inside it.
  double seconds(Activity activity) const { return seconds_[static_cast<std::size_t>(activity)]; }
  void reset() { seconds_ = {}; }

 private:
  void charge(Clock::time_point now) {
    if (depth_ > 0) {
      const auto current = static_cast<std::size_t>(stack_[depth_ - 1].activity);
      seconds_[current] += std::chrono::duration<double>(now - last_).count();
    }
    last_ = now;
  }

  static constexpr std::size_t kDeepest = 8;
  std::array<Event, kDeepest> stack_{};
  std::size_t depth_ = 0;
  Clock::time_point last_{};
  std::array<double, static_cast<std::size_t>(Activity::kCount)> seconds_{};
  bool tracing_ = false;
  std::vector<Event> events_;
  std::size_t dropped_ = 0;
};

/// An activity from construction to destruction.
class Span {
 public:
  Span(Recorder& recorder, Activity activity, int index = -1) : recorder_(recorder) {
    recorder_.begin(activity, index);
  }
  Span(const Span&) = delete;
  Span& operator=(const Span&) = delete;
  ~Span() { recorder_.end(); }

 private:
  Recorder& recorder_;
};

}  // namespace cllm
