#pragma once

#include <cstddef>
#include <span>

#include "cllm/lattice/certificates/certificate.h"
#include "cllm/lattice/integer_matrix.h"

namespace cllm::lattice {

/// LLL reduction (Lenstra, Lenstra and Lovász, "Factoring polynomials with rational coefficients",
/// Math. Ann. 261, 1982), by fplll: in double first, and where that is not enough, with as many
/// digits as it takes. Deterministic. What is returned has been proved by `fault`. Thread-safe;
/// threads take turns in fplll, which keeps static variables, and prove at the same time.

/// Reduces `basis` (n, m), whose n rows must be linearly independent. Throws Error where they are
/// not, and where an integer of basis, transform, inverse or result has more than kMostBits digits.
Certificate reduce(IntegerMatrix basis, double scale = 1);

/// The same of a real basis (n, m): rounded to integers of `bits` digits, by `power_of_two_scale`.
Certificate reduce(std::span<const double> basis, std::size_t vectors, int bits);

/// For weights: the lattice of the integer rows q under the norm q H qᵀ, H = L Lᵀ, where `lower`
/// (n, n) is L, the lower-triangular Cholesky factor; what stands above its diagonal is not read.
/// The rows of L are its basis, because |q L|^2 = q H qᵀ.
///
/// A point z of the reduced basis is q = z U, so codes are made by
///
///     const Certificate c = reduce_cholesky(lower, n);
///     const NearestPlane plane(multiply(c.transform, lower, n), n);
///     plane.decode_coefficients(w V, z);  // Note [Coefficients] in nearest_plane.h
///
/// Throws Error as above, and where the diagonal is not positive once rounded: then H needs more
/// damping or the caller more bits.
Certificate reduce_cholesky(std::span<const double> lower, std::size_t n, int bits = 20);

/// Reduces the basis whose inner products are `gram` (n, n), symmetric and positive definite.
/// The same conditions are proved, by `gram_fault`. Throws Error as `reduce` does, and where gram
/// is not symmetric or not positive definite.
GramReduction reduce_gram(const IntegerMatrix& gram);

}  // namespace cllm::lattice
