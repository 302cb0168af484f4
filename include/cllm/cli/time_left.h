#pragma once

#include <string_view>

namespace cllm::cli {

/// Seconds until Slurm ends this job; infinite outside of a job, or where Slurm doesn't say. Asks
/// SLURM_JOB_END_TIME, which newer Slurms set, else `squeue`.
double slurm_seconds_left();

/// Seconds of what squeue calls a time that is left: "1-02:03:04", "3:50:00", "0:45". Infinite for
/// "UNLIMITED" and any other text.
double parse_slurm_time(std::string_view text);

}  // namespace cllm::cli
