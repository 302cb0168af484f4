#pragma once

#include <limits>
#include <string_view>

#include "cllm/base/stopwatch.h"

namespace cllm::cli {

/// How long a job still has, from when it was asked for.
class TimeLeft {
 public:
  /// Infinitely long.
  TimeLeft() = default;
  explicit TimeLeft(double seconds) : seconds_(seconds) {}
  /// Seconds from now on; below 0 where they are over.
  double seconds() const { return seconds_ - since_.elapsed(); }

 private:
  double seconds_ = std::numeric_limits<double>::infinity();
  Stopwatch since_;
};

/// Until Slurm ends this job; infinite outside of a job, or where Slurm doesn't say. Asks
/// SLURM_JOB_END_TIME, which newer Slurms set, else starts `squeue`, which a process that speaks
/// MPI should not do.
TimeLeft slurm_time_left();

/// Seconds of what squeue calls a time that is left: "1-02:03:04", "3:50:00", "0:45". Infinite for
/// "UNLIMITED" and any other text.
double parse_slurm_time(std::string_view text);

}  // namespace cllm::cli
