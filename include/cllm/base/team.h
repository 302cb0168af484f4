#pragma once

#include <barrier>
#include <cstddef>
#include <memory>

#include "cllm/base/recorder.h"

namespace cllm {

/// Threads that share a piece of work.
class Team {
 public:
  explicit Team(int size) : size_(size) {
    if (size > 1) barrier_ = std::make_unique<std::barrier<>>(size);
  }

  int size() const { return size_; }
  /// Returns once every member has called it.
  void wait() {
    if (barrier_) barrier_->arrive_and_wait();
  }

 private:
  int size_;
  std::unique_ptr<std::barrier<>> barrier_;  // none for one
};

/// One thread's place in a team. Every member of a team calls the same functions.
struct Member {
  Team& team;
  int index;
  Recorder& recorder;

  /// Waits for the other members; what they wrote before is then seen.
  void wait() const {
    if (team.size() == 1) return;
    const Span span(recorder, Activity::kWait);
    team.wait();
  }

  /// Whether the task of that number is this member's. Tasks are dealt in turn.
  bool takes(std::size_t task) const {
    return task % static_cast<std::size_t>(team.size()) == static_cast<std::size_t>(index);
  }
};

}  // namespace cllm
