#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "cllm/lattice/certificates/certificate.h"
#include "cllm/lattice/integer_matrix.h"

namespace cllm::lattice {

/// log2 |b*_i| of the Gram-Schmidt vectors of a real basis (n, m), in double.
/// Throws Error where the rows are not linearly independent to double precision.
std::vector<double> log2_profile(std::span<const double> basis, std::size_t vectors);

/// What is to know about a reduced lattice. Lengths are in the units of the integer basis: divide
/// by the certificate's scale for those of the data.
struct Figures {
  double
      log2_defect_before;  ///< log2 of the orthogonality defect, prod |b_i| / det; 0 is orthogonal
  double log2_defect_after;
  double log2_determinant;

  /// The length of a shortest non-zero vector is in [shortest_least, shortest_found]. Where
  /// `shortest_exact`, enumeration has proved that the two are one.
  double shortest_least;
  double shortest_found;
  bool shortest_exact;

  /// Balls of this radius around the points don't overlap; half the shortest vector. It is what is
  /// proved: half of shortest_least.
  double packing_radius() const { return shortest_least / 2; }
};

/// How much work a shortest vector is worth.
struct Effort {
  /// Of block Korkine-Zolotarev reduction, which comes before enumeration; below 2, none.
  int block_size = 20;
  /// Enumeration is done where it is expected to visit at most so many nodes (some 10^7 a second).
  double nodes = 3e7;
};

/// The figures of a certificate that holds. Deterministic and thread-safe.
Figures figures(const Certificate& certificate, const Effort& effort = {});

}  // namespace cllm::lattice
