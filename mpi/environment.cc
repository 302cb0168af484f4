#include "cllm/mpi/environment.h"

#include <mpi.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>

#include "cllm/mpi/checked.h"
#include "cllm/mpi/peers.h"

namespace cllm::mpi {
namespace {

/// Until what takes no more than a moment is given up.
constexpr unsigned kSecondsToAbort = 10, kSecondsToFinalize = 60;

std::atomic<int> late_exit_code = EXIT_FAILURE;
static_assert(std::atomic<int>::is_always_lock_free);  // a signal handler reads it

}  // namespace

Environment::Environment(int& argc, char**& argv) {
  int provided = 0;
  checked(MPI_Init_thread(&argc, &argv, MPI_THREAD_MULTIPLE, &provided), "MPI_Init_thread");
  if (provided < MPI_THREAD_SERIALIZED) {
    fail("this MPI library lets only one thread communicate; use one with MPI_THREAD_SERIALIZED");
  }
  checked(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
}

Environment::~Environment() {
  end_within(kSecondsToFinalize, kWatchdogExit);
  MPI_Finalize();
  ::alarm(0);
}

std::string library() {
  char text[MPI_MAX_LIBRARY_VERSION_STRING];
  int length = 0;
  checked(MPI_Get_library_version(text, &length), "MPI_Get_library_version");
  std::string all(text, static_cast<std::size_t>(length));
  std::ranges::replace(all, '\t', ' ');
  return all.substr(0, all.find_first_of(",\n"));  // what follows are its makers
}

void abort(int exit_code) {
  end_within(kSecondsToAbort, exit_code);
  MPI_Abort(MPI_COMM_WORLD, exit_code);
  std::_Exit(exit_code);
}

void end_within(unsigned seconds, int exit_code) {
  late_exit_code = exit_code;
  ::signal(SIGALRM, [](int) { std::_Exit(late_exit_code); });
  ::alarm(seconds);
}

}  // namespace cllm::mpi
