#pragma once

#include <string>

namespace cllm::mpi {

/// MPI from construction to destruction; one for a process, made and destroyed by the main thread.
/// In between any thread may call MPI: all at once where the library has MPI_THREAD_MULTIPLE, else
/// one at a time. Without a launcher the process is a world of one rank.
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

/// Ends every rank of the job at once, for a failure that only this rank knows. Doesn't return, and
/// this process ends whatever becomes of the others.
[[noreturn]] void abort(int exit_code);

/// The process ends with this code unless it does before: what asks a launcher that is gone, or
/// waits for ranks that are, may never return. Thread-safe; what was said last holds.
void end_within(unsigned seconds, int exit_code);

}  // namespace cllm::mpi
