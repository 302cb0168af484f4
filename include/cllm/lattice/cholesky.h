#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace cllm::lattice {

/// The lower-triangular L (n, n) with L Lᵀ = `matrix` + `shift` on its diagonal; zeros above its
/// diagonal. Of the symmetric matrix (n, n) only what is on and below the diagonal is read. Throws
/// Error, a clause without a subject, where the sum is not positive definite to double's precision.
std::vector<double> cholesky(std::span<const double> matrix, std::size_t n, double shift = 0);

}  // namespace cllm::lattice
