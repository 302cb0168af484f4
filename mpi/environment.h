#pragma once

#include <string>

namespace cllm::mpi {

/// MPI from construction to destruction; one for a process, made and destroyed by the main thread.
/// In between any thread may call MPI, but only one at a time (MPI_THREAD_SERIALIZED). Without a
/// launcher the process is a world of one rank.
class Environment {
 public:
  /// Throws Error when MPI can't start.
  Environment(int& argc, char**& argv);
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;
  ~Environment();
};

/// The MPI library at hand, as "Open MPI v4.1.4".
std::string library();

/// Ends every rank of the job at once, for a failure that only this rank knows. Doesn't return.
[[noreturn]] void abort(int exit_code);

}  // namespace cllm::mpi
