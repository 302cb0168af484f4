#pragma once

#include <string>

namespace cllm::cli {

/// What squeue calls the Slurm job that this process is in, "1234" or "1234_5" of an array; empty
/// outside of one.
std::string slurm_job();

/// What squeue says of a job in the format of its option -o; empty where it says nothing, there is
/// none, it takes longer than `seconds`, or `job` is nothing that `slurm_job` gives. Starts squeue,
/// which a process that speaks MPI should not do.
std::string ask_squeue(const std::string& job, const std::string& format, int seconds);

}  // namespace cllm::cli
