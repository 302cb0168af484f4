#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace cllm {

/// The numbers of the processors that this process may run on (its affinity mask), ascending; never
/// empty.
std::vector<int> available_processors();

/// Those of another process; empty where it can't be told.
std::vector<int> available_processors(int process);

/// Those that the host and the process' control group would let it have, were its mask as wide.
std::vector<int> permitted_processors();

/// Makes these the processors of the calling thread, and of threads that it starts from now on.
/// Returns whether the system agreed.
bool run_on(std::span<const int> processors);

/// The processors in groups that share a core. Cores of a socket stand together.
std::vector<std::vector<int>> cores_of(
    std::span<const int> processors,
    const std::filesystem::path& system = "/sys/devices/system/cpu");

/// Threads that compute at once where this process is alone: its processors, or fewer where its
/// control group gives it less of their time; at least one.
int useful_threads();

/// Note [OpenMP's places]: where OMP_PROC_BIND, OMP_PLACES or the like are set, OpenMP binds the
/// program's first thread to one processor, before main, and all that it starts has that alone.
/// Which of a host's ranks has which processors is not OpenMP's to know: clusters set these for
/// programs of one process.
///
/// Where OpenMP did so, gives this process all the processors that those variables mean, and takes
/// the variables out of the environment. Returns whether the program has to start again, see
/// `start_again`, for OpenMP to forget them.
bool undo_openmp_places();

/// Starts this program again, by its path, so that the process keeps its name. Open files and the
/// environment are kept, threads and MPI would not be. Returns where the system refuses.
void start_again(char** argv);

/// The name of this host.
std::string host_name();

/// What its processors call themselves: "AMD EPYC 7302 16-Core Processor".
std::string processor_model();

}  // namespace cllm
