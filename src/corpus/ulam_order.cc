#include "cllm/corpus/ulam_order.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>
#include <utility>

namespace cllm::corpus {
namespace {

/// The distance, in the larger of its coordinates, of a rank's cell from the origin: ring k has the
/// ranks from (2k - 1)^2 on.
std::int32_t ring_of(std::uint64_t rank) {
  const auto root = static_cast<std::int32_t>(std::sqrt(static_cast<double>(rank)));
  return (root + 1) / 2;
}

}  // namespace

Cell ulam_cell(std::uint64_t rank) {
  if (rank == 0) return {0, 0};
  const std::int32_t k = ring_of(rank);
  const auto inside = static_cast<std::uint64_t>(2 * k - 1);
  const auto place = static_cast<std::int32_t>(rank - inside * inside);
  const std::int32_t along = place % (2 * k);
  switch (place / (2 * k)) {
    case 0:
      return {k, along + 1 - k};
    case 1:
      return {k - 1 - along, k};
    case 2:
      return {-k, k - 1 - along};
    default:
      return {along + 1 - k, -k};
  }
}

std::uint64_t hilbert_index(Cell cell, int bits) {
  auto x = static_cast<std::uint32_t>(cell.x), y = static_cast<std::uint32_t>(cell.y);
  std::uint64_t index = 0;
  for (int i = bits - 1; i >= 0; --i) {
    // Quadrants are walked through as (0,0), (0,1), (1,1), (1,0); the first and the last, mirrored.
    const std::uint32_t right = x >> i & 1, up = y >> i & 1;
    index = index << 2 | (3 * right ^ up);
    if (up == 1) continue;
    if (right == 1) {
      x = ~x;
      y = ~y;
    }
    std::swap(x, y);
  }
  return index;
}

std::vector<std::uint32_t> frequency_ranks(std::span<const std::uint64_t> counts) {
  std::vector<std::uint32_t> tokens(counts.size()), ranks(counts.size());
  std::iota(tokens.begin(), tokens.end(), 0u);
  std::ranges::stable_sort(tokens, std::greater<>(), [&](std::uint32_t t) { return counts[t]; });
  for (std::uint32_t rank = 0; rank < ranks.size(); ++rank) ranks[tokens[rank]] = rank;
  return ranks;
}

std::vector<std::uint32_t> ulam_rows(std::span<const std::uint64_t> counts) {
  if (counts.empty()) return {};
  const auto rings = static_cast<std::uint32_t>(ring_of(counts.size() - 1)) + 1;
  const std::uint32_t side = std::bit_ceil(3 * rings);
  const auto origin = static_cast<std::int32_t>(side / 3);
  const std::vector<std::uint32_t> ranks = frequency_ranks(counts);
  std::vector<std::pair<std::uint64_t, std::uint32_t>> walk;
  for (std::uint32_t token = 0; token < ranks.size(); ++token) {
    const Cell cell = ulam_cell(ranks[token]);
    walk.emplace_back(hilbert_index({origin + cell.x, origin + cell.y}, std::countr_zero(side)),
                      token);
  }
  std::ranges::sort(walk);
  std::vector<std::uint32_t> rows(walk.size());
  for (std::uint32_t row = 0; row < rows.size(); ++row) rows[walk[row].second] = row;
  return rows;
}

}  // namespace cllm::corpus
