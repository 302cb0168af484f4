#include "cllm/mpi/environment.h"

#include <mpi.h>

#include <algorithm>
#include <cstdlib>

#include "cllm/mpi/checked.h"

namespace cllm::mpi {

Environment::Environment(int& argc, char**& argv) {
  int provided = 0;
  checked(MPI_Init_thread(&argc, &argv, MPI_THREAD_SERIALIZED, &provided), "MPI_Init_thread");
  if (provided < MPI_THREAD_SERIALIZED) {
    fail("this MPI library lets only one thread communicate; use one with MPI_THREAD_SERIALIZED");
  }
  checked(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
}

Environment::~Environment() { MPI_Finalize(); }

std::string library() {
  char text[MPI_MAX_LIBRARY_VERSION_STRING];
  int length = 0;
  checked(MPI_Get_library_version(text, &length), "MPI_Get_library_version");
  std::string all(text, static_cast<std::size_t>(length));
  std::ranges::replace(all, '\t', ' ');
  return all.substr(0, all.find_first_of(",\n"));  // what follows are its makers
}

void abort(int exit_code) {
  MPI_Abort(MPI_COMM_WORLD, exit_code);
  std::_Exit(exit_code);
}

}  // namespace cllm::mpi
