#include "cllm/train/scales.h"

#include <algorithm>
#include <cmath>

namespace cllm::train {
namespace {

/// Of the root mean square of a row's sum.
constexpr int kTargetBits = 25;
/// How much smaller a row may be than its tensor's largest, in bits, and have as many. A row that
/// becomes as large as that one then has 49, and room for 2^9 times more.
constexpr int kMostSpread = 24;

/// For gradients up to 2^18, and rows whose root mean square is 2^-44 or more.
constexpr std::int32_t kInitialExponent = 44;
constexpr std::int32_t kLoweredBy = 20;
constexpr std::uint64_t kStepsOfABit = 8;
/// 2^e and its inverse are normal floats, and so are products with gradients that are.
constexpr std::int32_t kMostExponent = 100;

}  // namespace

int bits_of_row(double squares, std::size_t size) {
  if (squares == 0) return kNoSize;
  return std::ilogb(std::sqrt(squares / static_cast<double>(size))) + 1;
}

std::vector<std::int32_t> initial_exponents(std::size_t rows) {
  return std::vector<std::int32_t>(rows, kInitialExponent);
}

Down down_after(std::uint64_t step) {
  return step % kStepsOfABit == 0 ? Down::kByOne : Down::kNotNow;
}

void adapt_exponents(const model::Tiling& tiling, std::span<const int> bits, Down down,
                     std::span<std::int32_t> exponents) {
  const std::span<const model::Tile> tiles = tiling.tiles();
  for (std::size_t tensor = 0; tensor < tiling.tensors(); ++tensor) {
    if (tiling.first_of(tensor) == tiling.end_of(tensor)) continue;  // it isn't trained
    const std::size_t begin = tiles[tiling.first_of(tensor)].first_row;
    const model::Tile& last = tiles[tiling.end_of(tensor) - 1];
    const std::size_t end = last.first_row + last.rows;

    int size = kNoSize;  // of the largest row: its root mean square is below 2^size
    for (std::size_t row = begin; row < end; ++row) {
      if (bits[row] != kNoSize) size = std::max(size, bits[row] - exponents[row]);
    }
    if (size == kNoSize) continue;
    const auto in_range = [](int e) { return std::clamp(e, -kMostExponent, kMostExponent); };
    const std::int32_t most = in_range(kTargetBits - size + kMostSpread);
    for (std::size_t row = begin; row < end; ++row) {
      std::int32_t& e = exponents[row];
      if (bits[row] == kNoSize) {  // it may be that all was rounded to 0
        e = most;
      } else {
        const int missing = kTargetBits - bits[row];
        const int least = down == Down::kByOne ? -1 : 0;
        e = in_range(e + (down == Down::kAllTheWay ? missing : std::max(missing, least)));
      }
      e = std::min(e, most);
    }
  }
}

bool lower_exponents(const model::Tile& tile, std::span<std::int32_t> exponents) {
  bool lowered = false;
  for (std::int32_t& e : exponents.subspan(tile.first_row, tile.rows)) {
    lowered |= e > -kMostExponent;
    e = std::max(e - kLoweredBy, -kMostExponent);
  }
  return lowered;
}

}  // namespace cllm::train
