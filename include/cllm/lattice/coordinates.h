#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace cllm::lattice {

/// A lattice of known shape, in whose coordinates the rows of a matrix are stored.
enum class LatticeKind {
  kIntegers,  ///< Z^n
  kE8         ///< E8 on every eight consecutive columns; Z on the up to seven that are left
};

/// Columns of a block of E8.
inline constexpr std::size_t kE8Dimension = 8;

/// Note [Coordinates]
///
/// A point of Z^n is stored as its integers, one of E8 (Conway and Sloane, "Sphere Packings,
/// Lattices and Groups", 4.8.1: eight integers with an even sum, or eight halves of odd integers
/// whose sum is even) as twice its coordinates. They are entropy-coded row by row with adaptive
/// models, so that what a matrix takes is the information in its coordinates, whatever made them:
/// no coordinate is too large, and every method pays for its bits by the same measure. The models
/// are chosen by the size that the coordinates so far let expect at this row and column. What E8's
/// parity tells is not stored.

/// The coordinates (rows, columns), of points of the lattice, as bytes. Magnitudes are below 2^28.
std::string encode_coordinates(std::span<const std::int32_t> coordinates, std::size_t columns,
                               LatticeKind kind);

/// The same coordinates again. Throws Error, a clause without a subject, where the bytes are not
/// what `encode_coordinates` makes of a matrix of this shape; takes any bytes.
void decode_coordinates(std::string_view bytes, std::size_t columns, LatticeKind kind,
                        std::span<std::int32_t> coordinates);

}  // namespace cllm::lattice
