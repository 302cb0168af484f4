#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "cllm/lattice/weight_lattice.h"

namespace cllm::lattice {

/// A matrix as it is stored: the coordinates of lattice points, and the steps.
struct CodedMatrix {
  MatrixSteps steps;
  std::string coordinates;  ///< as encode_coordinates makes them

  /// The step (float32), the bytes that the exponents take (uint32), both little-endian; the
  /// exponents of columns, then rows, encoded as coordinates in one column; the coordinates.
  std::string pack() const;
  /// Throws Error, a clause without a subject, where the bytes can't be of a matrix of this shape.
  static CodedMatrix unpack(std::string_view bytes, std::size_t rows, std::size_t columns);

  /// The weights (rows, columns). Throws Error, a clause without a subject, where the coordinates
  /// are not of this shape, or a weight is not finite.
  void decode(LatticeKind kind, std::span<float> weights) const;
};

/// Weights (m, n) on the lattice, with cells of this side.
CodedMatrix code_matrix(const WeightLattice& lattice, std::span<const float> weights, double side,
                        int threads);

/// The smallest side of cells at which `rate` is at most `most`, to within 1 % of the rate where
/// that can be. `rate` falls by about 1 where the side doubles. Throws Error, a clause without a
/// subject, where no side will do.
double find_side(const std::function<double(double side)>& rate, double most);

}  // namespace cllm::lattice
