#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace cllm::corpus {

/// Note [Ulam order]. Tokens by frequency, laid on Ulam's spiral (Stein, Ulam and Wells: "A Visual
/// Display of Some Properties of the Distribution of Primes", American Mathematical Monthly 71,
/// 1964): rank 0 in the origin, 1 beside it, the others around them, so that a token's distance
/// from the origin grows as the root of its rank. Rows of a table go by the walk of Hilbert's curve
/// over the square that holds the spiral: cells that are close on the curve are close in the plane,
/// and every aligned square of side 2^i is walked through in one go. The origin lies at a third of
/// the square's side in both directions. A third is 0.0101… in binary: far, at every scale, from
/// the borders where neighbours in the plane are far apart on the curve, while the middle of the
/// square would cut what is hot into four. So the hottest n rows lie within some n rows, around one
/// place in the table, as do frequent rows and less frequent ones of the same direction.

/// A place in the plane.
struct Cell {
  std::int32_t x, y;

  bool operator==(const Cell&) const = default;
};

/// Where rank n < 2^52 lies on the spiral, in O(1): right, up, left, left, down, down, right, ….
Cell ulam_cell(std::uint64_t rank);

/// The place of a cell, 0 <= x, y < 2^bits with bits <= 31, on Hilbert's curve from (0, 0) to
/// (2^bits - 1, 0).
std::uint64_t hilbert_index(Cell cell, int bits);

/// The rank of each token by falling counts, ties by number: (V).
std::vector<std::uint32_t> frequency_ranks(std::span<const std::uint64_t> counts);

/// The row of each token in Ulam order, a permutation: (V).
std::vector<std::uint32_t> ulam_rows(std::span<const std::uint64_t> counts);

}  // namespace cllm::corpus
