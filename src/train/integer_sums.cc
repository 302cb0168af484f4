#include "cllm/train/integer_sums.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "cllm/base/error.h"

namespace cllm::train {
namespace {

/// Bounds above this are alike, so that two can be added without wrapping.
constexpr std::uint64_t kMostBound = std::uint64_t{1} << 62;

/// Between ranks, bounds are in units of 2^16, and this stands for 2^31 and all that is larger: so
/// that the bounds of many ranks add up in 32 bits.
constexpr int kCommonUnitBits = 16;
constexpr std::int32_t kCommonWide = std::int32_t{1} << (31 - kCommonUnitBits);
constexpr int kMostRanks = std::numeric_limits<std::int32_t>::max() / kCommonWide;

/// Integers that are reduced in 64 bits at a time.
constexpr std::size_t kPiece = std::size_t{1} << 16;

/// 2^exponent, for exponents of normal floats.
float power_of_two(std::int32_t exponent) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(exponent + 127) << 23);
}

std::int64_t join(std::int32_t high, std::int32_t low) {
  return static_cast<std::int64_t>(std::uint64_t{static_cast<std::uint32_t>(high)} << 32 |
                                   static_cast<std::uint32_t>(low));
}

std::int64_t add_modulo(std::int64_t a, std::int64_t b) {
  return static_cast<std::int64_t>(static_cast<std::uint64_t>(a) + static_cast<std::uint64_t>(b));
}

std::int32_t high_word(std::int64_t value) { return static_cast<std::int32_t>(value >> 32); }
std::int32_t low_word(std::int64_t value) { return static_cast<std::int32_t>(value); }

}  // namespace

void check_ranks(int ranks) {
  if (ranks <= kMostRanks) return;
  fail(
      "--reduce exact adds up {} ranks, and these are {}; give each rank more threads, or --reduce "
      "fp32",
      kMostRanks, ranks);
}

std::vector<SumRow> rows_of(const model::Layout& layout, const model::Tiling& tiling) {
  std::vector<SumRow> rows(tiling.rows());
  for (const model::Tile& tile : tiling.tiles()) {
    const model::Tensor& tensor = layout[tile.tensor];
    const std::size_t width = tensor.is_matrix() ? tensor.columns : tensor.size();
    for (std::size_t row = 0; row < tile.rows; ++row) {
      const std::size_t at = tensor.offset + (tile.row + row) * width + tile.column;
      rows[tile.first_row + row] = {tile.first_row + row, at, tile.columns};
    }
  }
  return rows;
}

IntegerSums::IntegerSums(const kernels::Kernels& kernels, std::size_t elements, std::size_t rows,
                         std::size_t longest)
    : kernels_(&kernels),
      low_(elements),
      high_(elements),
      bounds_(rows),
      low_bounds_(rows),
      common_bounds_(rows),
      piece_(std::max(kPiece, longest)) {}

std::size_t IntegerSums::bytes_for(std::size_t elements, std::size_t rows, bool with_high_words) {
  return elements * sizeof(std::int32_t) * (with_high_words ? 2 : 1) +
         rows * (sizeof(std::uint64_t) + sizeof(std::uint32_t) + sizeof(std::int32_t)) +
         kPiece * sizeof(std::int64_t);
}

void IntegerSums::clear() { std::ranges::fill(bounds_, std::uint64_t{0}); }

void IntegerSums::zero(std::size_t begin, std::size_t end) {
  std::fill(low_.data() + begin, low_.data() + end, 0);
}

std::int64_t IntegerSums::add(const SumRow& row, const float* values, std::int32_t exponent,
                              bool first) {
  const float scale = power_of_two(exponent);
  const double largest = kernels_->largest(values, row.size) * scale;
  if (!(largest < kMost)) return kMostSize;  // NaN is not
  const auto size = static_cast<std::uint64_t>(std::ceil(largest));
  std::int32_t* const low = low_.data() + row.at;
  std::uint64_t& bound = bounds_[row.index];
  if (bound + size <= kMostNarrow) {
    (first ? kernels_->encode : kernels_->encode_add)(values, scale, low, row.size);
  } else {
    if (first) std::fill_n(low, row.size, 0);
    if (size <= kMostNarrow - kLeft) {
      make_room(row, static_cast<std::uint32_t>(size));
      kernels_->encode_add(values, scale, low, row.size);
    } else {
      make_room(row, kLeft);
      kernels_->encode_add_wide(values, scale, low, high_.data() + row.at, row.size);
    }
  }
  bound = std::min(bound + size, kMostBound);
  return static_cast<std::int64_t>(std::ceil(largest / kSizeUnit));
}

/// For a row with high words, or one that gets them: makes room in its low words for what changes
/// them by at most `size`.
void IntegerSums::make_room(const SumRow& row, std::uint32_t size) {
  std::uint32_t& low_bound = low_bounds_[row.index];
  if (is_narrow(row)) {
    std::fill_n(high_.data() + row.at, row.size, 0);
    carry(row);
  } else if (low_bound + std::uint64_t{size} > kMostNarrow) {
    carry(row);
  }
  low_bound += size;
}

/// Leaves at most kLeft in each low word.
void IntegerSums::carry(const SumRow& row) {
  std::int32_t* const low = low_.data() + row.at;
  std::int32_t* const high = high_.data() + row.at;
  for (std::size_t i = 0; i < row.size; ++i) {
    const std::int32_t carried = ((low[i] >> (kCarryBits - 1)) + 1) >> 1;
    low[i] = static_cast<std::int32_t>(static_cast<std::uint32_t>(low[i]) -
                                       (static_cast<std::uint32_t>(carried) << kCarryBits));
    high[i] = static_cast<std::int32_t>(static_cast<std::uint32_t>(high[i]) +
                                        static_cast<std::uint32_t>(carried));
  }
  low_bounds_[row.index] = kLeft;
}

/// From high words that count 2^30 to the halves of integers of 64 bits.
void IntegerSums::join_words(const SumRow& row) {
  if (is_carried(row)) {
    for (std::size_t i = 0; i < row.size; ++i) {
      const std::int64_t sum = value(row, i);
      low_[row.at + i] = low_word(sum);
      high_[row.at + i] = high_word(sum);
    }
  }
  low_bounds_[row.index] = 0;
}

std::int64_t IntegerSums::value(const SumRow& row, std::size_t i) const {
  const std::int32_t low = low_[row.at + i];
  if (is_narrow(row)) return low;
  const std::int32_t high = high_[row.at + i];
  return is_carried(row) ? (std::int64_t{high} << kCarryBits) + low : join(high, low);
}

void IntegerSums::fold(const SumRow& from, const SumRow& to) {
  const std::uint64_t bound = std::min(bounds_[from.index] + bounds_[to.index], kMostBound);
  if (bound <= kMostNarrow) {
    kernels_->add_integers(low_.data() + from.at, low_.data() + to.at, to.size);
  } else {
    for (std::size_t i = 0; i < to.size; ++i) {
      const std::int64_t sum = add_modulo(value(from, i), value(to, i));
      low_[to.at + i] = low_word(sum);
      high_[to.at + i] = high_word(sum);
    }
    low_bounds_[to.index] = 0;
  }
  bounds_[to.index] = bound;
}

std::uint64_t IntegerSums::largest(const SumRow& row) const {
  if (is_narrow(row)) return kernels_->integer_norm(low_.data() + row.at, row.size).largest;
  std::uint64_t largest = 0;
  for (std::size_t i = 0; i < row.size; ++i) {
    const std::int64_t sum = value(row, i);
    const auto bits = static_cast<std::uint64_t>(sum);
    largest = std::max(largest, sum < 0 ? 0 - bits : bits);
  }
  return largest;
}

void IntegerSums::reduce(std::span<const SumRow> rows, std::span<const SumRange> ranges,
                         ranks::ProcessGroup& process_group) {
  const std::span<std::int32_t> bounds = std::span(common_bounds_).first(rows.size());
  // A sum of contributions grows like a random walk, their bound by each of them: where it could
  // decide, the sum itself is looked at.
  const std::uint64_t small = kMostNarrow / static_cast<std::uint64_t>(process_group.size());
  for (std::size_t i = 0; i < rows.size(); ++i) {
    join_words(rows[i]);
    const std::uint64_t bound = bounds_[rows[i].index];
    const std::uint64_t most = bound <= small ? bound : largest(rows[i]);
    bounds[i] = static_cast<std::int32_t>(
        std::min((std::min(most, kMostBound) + ((1U << kCommonUnitBits) - 1)) >> kCommonUnitBits,
                 std::uint64_t{kCommonWide}));
  }
  process_group.all_reduce(bounds);
  reduce_wide(rows, bounds, process_group);
  for (const SumRange& range : ranges) train::reduce(low_.span(), range, process_group);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    bounds_[rows[i].index] =
        bounds[i] < kCommonWide ? std::uint64_t(bounds[i]) << kCommonUnitBits : kMostBound;
  }
}

/// The high words of rows whose common bound says that they are needed.
void IntegerSums::reduce_wide(std::span<const SumRow> rows, std::span<const std::int32_t> bounds,
                              ranks::ProcessGroup& process_group) {
  std::size_t first = 0;  // row of the piece
  while (first < rows.size()) {
    std::size_t filled = 0, end = first;
    for (; end < rows.size(); ++end) {
      if (bounds[end] < kCommonWide) continue;
      const SumRow& row = rows[end];
      if (filled + row.size > piece_.size()) break;
      for (std::size_t i = 0; i < row.size; ++i) {
        piece_[filled++] = value(row, i);
      }
    }
    if (filled > 0) process_group.all_reduce(std::span(piece_).first(filled));
    filled = 0;
    for (; first < end; ++first) {
      if (bounds[first] < kCommonWide) continue;
      const SumRow& row = rows[first];
      for (std::size_t i = 0; i < row.size; ++i) {
        high_[row.at + i] = high_word(piece_[filled++]);
      }
    }
  }
}

double IntegerSums::settle(const SumRow& row) {
  join_words(row);
  if (!is_narrow(row)) bounds_[row.index] = largest(row);
  if (is_narrow(row)) return kernels_->integer_norm(low_.data() + row.at, row.size).squares;
  double squares = 0;
  for (std::size_t i = 0; i < row.size; ++i) {
    const auto sum = static_cast<double>(value(row, i));
    squares += sum * sum;
  }
  return squares;
}

const std::int32_t* IntegerSums::narrow(const SumRow& row) const {
  return is_narrow(row) ? low_.data() + row.at : nullptr;
}

void IntegerSums::to_floats(const SumRow& row, std::size_t first, std::span<float> values) const {
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = static_cast<float>(value(row, first + i));
  }
}

}  // namespace cllm::train
