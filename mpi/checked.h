#pragma once

#include <mpi.h>

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

}  // namespace cllm::mpi
