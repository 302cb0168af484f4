#pragma once

#include <cstdint>
#include <string>

namespace cllm::train {

/// How fast a run gets on, and how long what is left of it takes: its steps, and its evaluations.
/// One thread at a time.
class Pace {
 public:
  /// `evaluation_steps`: so many steps take as long as an evaluation, as a guess until there was
  /// one.
  Pace(std::uint64_t steps, std::uint64_t evaluate_every, double evaluation_steps)
      : steps_(steps), evaluate_every_(evaluate_every), evaluation_steps_(evaluation_steps) {}

  /// That a step was taken. The first of a start, which takes longer, counts for as long as it is
  /// the only one.
  void step(double seconds);
  void evaluation(double seconds) { evaluation_seconds_ = seconds; }

  /// Of the whole run.
  std::uint64_t steps() const { return steps_; }
  /// Steps that were taken since the start.
  std::uint64_t taken() const { return taken_; }
  /// Of a step, smoothed.
  double step_seconds() const { return step_seconds_; }
  /// From step `step` to the end of the run, without what saving takes.
  double seconds_left(std::uint64_t step) const;

 private:
  std::uint64_t steps_, evaluate_every_;
  double evaluation_steps_;
  std::uint64_t taken_ = 0;
  double step_seconds_ = 0;
  double evaluation_seconds_ = 0;  // 0: not known
};

/// A line that says how long the `steps` that are left take, and, where this start of the run ends
/// before, that there must be more of them. `left`: seconds of the run; `start_left` and `start`:
/// seconds that this start still has, and has in all; both may be infinite.
std::string forecast(double left, std::uint64_t steps, double start_left, double start);

}  // namespace cllm::train
