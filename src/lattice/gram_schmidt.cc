#include "gram_schmidt.h"

#include <cmath>

#include "cllm/base/error.h"

namespace cllm::lattice {
namespace {

/// What orthogonalisation leaves of a vector is noise where it is below this part of it.
constexpr double kNoise = 0x1p-44;

double dot(const double* a, const double* b, std::size_t n) {
  double sum = 0;
  for (std::size_t i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

}  // namespace

GramSchmidt gram_schmidt(std::span<const double> basis, std::size_t vectors) {
  if (vectors == 0 || basis.size() % vectors != 0 || basis.size() / vectors < vectors) {
    fail("{} numbers are no basis of {} vectors: it needs at least as many columns", basis.size(),
         vectors);
  }
  const std::size_t columns = basis.size() / vectors;
  GramSchmidt result{.triangle = std::vector<double>(vectors * vectors),
                     .directions = {basis.begin(), basis.end()}};
  for (std::size_t i = 0; i < vectors; ++i) {
    double* const vector = &result.directions[i * columns];
    double* const coefficients = &result.triangle[i * vectors];
    const double before = std::sqrt(dot(vector, vector, columns));
    if (!std::isfinite(before)) fail("vector {} of a basis is not finite", i);
    for (int pass = 0; pass < 2; ++pass) {
      for (std::size_t k = 0; k < i; ++k) {
        const double* const direction = &result.directions[k * columns];
        const double along = dot(vector, direction, columns);
        coefficients[k] += along;
        for (std::size_t j = 0; j < columns; ++j) vector[j] -= along * direction[j];
      }
    }
    const double length = std::sqrt(dot(vector, vector, columns));
    if (!(length > kNoise * before)) {
      fail(
          "vector {} of a basis is a combination of those before it, to double precision; damp the "
          "covariance it comes from, or leave the vector out",
          i);
    }
    coefficients[i] = length;
    for (std::size_t j = 0; j < columns; ++j) vector[j] /= length;
  }
  return result;
}

}  // namespace cllm::lattice
