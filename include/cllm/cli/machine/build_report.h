#pragma once

#include <string>

namespace cllm::cli {

/// What a report of an error should say of this build and this machine, a line for each: compiler,
/// MPI, BLAS, HDF5, kernels and products, processors, system. Needs no MPI that has started.
std::string build_report();

}  // namespace cllm::cli
