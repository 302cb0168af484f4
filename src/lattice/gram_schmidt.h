#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace cllm::lattice {

/// basis = triangle directions.
struct GramSchmidt {
  std::vector<double> triangle;    ///< (n, n), lower-triangular, |b*_i| on its diagonal
  std::vector<double> directions;  ///< (n, m), orthonormal rows, b*_i / |b*_i|
};

/// The Gram-Schmidt process of a real basis (n, m), each vector orthogonalised twice, so that
/// directions are orthogonal to working precision (Giraud, Langou and Rozložník, "The loss of
/// orthogonality in the Gram-Schmidt orthogonalization process", Comput. Math. Appl. 50, 2005).
/// Throws Error where the shape is none, an element is not finite, or the rows are not linearly
/// independent to double precision.
GramSchmidt gram_schmidt(std::span<const double> basis, std::size_t vectors);

}  // namespace cllm::lattice
