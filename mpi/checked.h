#pragma once

#include <mpi.h>

#include <cstddef>
#include <limits>
#include <string>

#include "cllm/base/error.h"

namespace cllm::mpi {

/// Turns MPI's return code into an Error that names the call: the one place where codes are
/// checked.
inline void checked(int code, const char* call) {
  if (code == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING];
  int length = 0;
  MPI_Error_string(code, text, &length);
  fail("{} failed: {}; look at the other ranks' output and the network", call,
       std::string(text, static_cast<std::size_t>(length)));
}

/// A count as MPI wants it. Throws Error where there are more than it can count.
inline int checked_count(std::size_t count) {
  if (count > static_cast<std::size_t>(std::numeric_limits<int>::max())) {
    fail("a message of {} bytes is more than MPI can count", count);
  }
  return static_cast<int>(count);
}

/// Whether what was begun under this request has ended, or nothing was; doesn't wait.
inline bool has_ended(MPI_Request& request) {
  int ended = 0;
  checked(MPI_Test(&request, &ended, MPI_STATUS_IGNORE), "MPI_Test");
  return ended != 0;
}

}  // namespace cllm::mpi
