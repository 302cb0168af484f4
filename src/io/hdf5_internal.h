#pragma once

#include <hdf5.h>

#include <string>

#include "cllm/io/hdf5.h"

namespace cllm::io {

/// Keeps HDF5 from printing its errors in this thread.
void silence_hdf5();

/// Why the last HDF5 call of this thread failed: the system's words for an error number where
/// there was one, else HDF5's own.
std::string hdf5_reason();

}  // namespace cllm::io
