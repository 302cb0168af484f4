#include "cllm/lattice/cholesky.h"

#include <cmath>

#include "cllm/base/error.h"

namespace cllm::lattice {

std::vector<double> cholesky(std::span<const double> matrix, std::size_t n, double shift) {
  std::vector<double> upper(n * n);  // Lᵀ, whose rows are updated in one sweep each
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t j = i; j < n; ++j) upper[i * n + j] = matrix[j * n + i];
    upper[i * n + i] += shift;
  }
  for (std::size_t k = 0; k < n; ++k) {
    double* pivot = &upper[k * n];
    if (!(pivot[k] > 0) || !std::isfinite(pivot[k])) {
      fail("the matrix is not positive definite at {} of {}", k, n);
    }
    const double root = std::sqrt(pivot[k]);
    for (std::size_t j = k; j < n; ++j) pivot[j] /= root;
    for (std::size_t i = k + 1; i < n; ++i) {
      const double factor = pivot[i];
      double* row = &upper[i * n];
      for (std::size_t j = i; j < n; ++j) row[j] -= factor * pivot[j];
    }
  }
  std::vector<double> lower(n * n);
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t j = 0; j <= i; ++j) lower[i * n + j] = upper[j * n + i];
  }
  return lower;
}

}  // namespace cllm::lattice
