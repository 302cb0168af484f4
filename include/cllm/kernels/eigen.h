#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "cllm/base/thread_pool.h"
#include "cllm/kernels/kernels.h"

namespace cllm::kernels {

/// Replaces the symmetric a (n, n) by its eigenvectors, of length 1, one in each row, and returns
/// their eigenvalues, ascending. Householder's reduction to a tridiagonal matrix, and the QL
/// iteration with implicit Wilkinson shifts (Golub and Van Loan, "Matrix Computations", 4th
/// ed., 8.3); errors are a small multiple of n 2^-53 ‖a‖. The same bits on any number of threads,
/// with all kernels of a fixed order. Takes 1.1 n² doubles more for a while. Throws Error where a
/// has an element that is not finite, and std::bad_alloc.
std::vector<double> symmetric_eigen(const Kernels& kernels, ThreadPool& pool, std::span<double> a,
                                    std::size_t n);

}  // namespace cllm::kernels
