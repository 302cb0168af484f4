#include "cllm/train/integer_sums.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace cllm::train {
namespace {

/// Bounds above this are alike, so that two can be added without wrapping.
constexpr std::uint64_t kMostBound = std::uint64_t{1} << 62;

/// Between ranks, bounds are in units of 2^16, and this stands for 2^31 and all that is larger:
/// sums of it are good for 65,535 ranks.
constexpr int kCommonUnitBits = 16;
constexpr std::int32_t kCommonWide = std::int32_t{1} << (31 - kCommonUnitBits);

/// Integers that are reduced in 64 bits at a time.
constexpr std::size_t kPiece = std::size_t{1} << 16;

/// 2^exponent, for exponents of normal floats.
float power_of_two(std::int32_t exponent) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(exponent + 127) << 23);
}

}  // namespace

std::vector<SumRow> rows_of(const model::Layout& layout, const model::Tiling& tiling) {
  std::vector<SumRow> rows(tiling.rows());
  for (const model::Tile& tile : tiling.tiles()) {
    const model::Tensor& tensor = layout[tile.tensor];
    const std::size_t width = tensor.is_matrix ? tensor.columns : tensor.size();
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
      common_bounds_(rows),
      piece_(std::max(kPiece, longest)) {}

std::size_t IntegerSums::bytes_for(std::size_t elements, std::size_t rows, bool with_high_words) {
  return elements * sizeof(std::int32_t) * (with_high_words ? 2 : 1) +
         rows * (sizeof(std::uint64_t) + sizeof(std::int32_t)) + kPiece * sizeof(std::int64_t);
}

void IntegerSums::clear(std::size_t begin, std::size_t end) {
  std::ranges::fill(bounds_, std::uint64_t{0});
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
    if (is_narrow(row)) widen(row);
    kernels_->encode_add_wide(values, scale, low, high_.data() + row.at, row.size);
  }
  bound = std::min(bound + size, kMostBound);
  return static_cast<std::int64_t>(std::ceil(largest / kSizeUnit));
}

void IntegerSums::widen(const SumRow& row) {
  for (std::size_t i = row.at; i < row.at + row.size; ++i) high_[i] = low_[i] >> 31;
}

std::int64_t IntegerSums::wide(std::size_t element, bool is_narrow) const {
  if (is_narrow) return low_[element];
  return static_cast<std::int64_t>(std::uint64_t{static_cast<std::uint32_t>(high_[element])} << 32 |
                                   static_cast<std::uint32_t>(low_[element]));
}

void IntegerSums::fold(const SumRow& from, const SumRow& to) {
  const std::uint64_t bound = std::min(bounds_[from.index] + bounds_[to.index], kMostBound);
  if (bound <= kMostNarrow) {
    kernels_->add_integers(low_.data() + from.at, low_.data() + to.at, to.size);
  } else {
    const bool from_narrow = is_narrow(from), to_narrow = is_narrow(to);
    for (std::size_t i = 0; i < to.size; ++i) {
      const auto sum = static_cast<std::uint64_t>(wide(from.at + i, from_narrow)) +
                       static_cast<std::uint64_t>(wide(to.at + i, to_narrow));
      low_[to.at + i] = static_cast<std::int32_t>(static_cast<std::uint32_t>(sum));
      high_[to.at + i] = static_cast<std::int32_t>(static_cast<std::uint32_t>(sum >> 32));
    }
  }
  bounds_[to.index] = bound;
}

std::uint64_t IntegerSums::largest(const SumRow& row) const {
  if (is_narrow(row)) return kernels_->integer_norm(low_.data() + row.at, row.size).largest;
  std::uint64_t largest = 0;
  for (std::size_t i = row.at; i < row.at + row.size; ++i) {
    const std::int64_t value = wide(i, false);
    const auto bits = static_cast<std::uint64_t>(value);
    largest = std::max(largest, value < 0 ? 0 - bits : bits);
  }
  return largest;
}

void IntegerSums::reduce(std::span<const SumRow> rows, std::size_t at, std::size_t size,
                         Collective& collective) {
  const std::span<std::int32_t> bounds = std::span(common_bounds_).first(rows.size());
  // A sum of contributions grows like a random walk, their bound by each of them: where it could
  // decide, the sum itself is looked at.
  const std::uint64_t small = kMostNarrow / static_cast<std::uint64_t>(collective.size());
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const std::uint64_t bound = bounds_[rows[i].index];
    const std::uint64_t most = bound <= small ? bound : largest(rows[i]);
    bounds[i] = static_cast<std::int32_t>(
        std::min((std::min(most, kMostBound) + ((1U << kCommonUnitBits) - 1)) >> kCommonUnitBits,
                 std::uint64_t{kCommonWide}));
  }
  collective.sum(bounds);
  reduce_wide(rows, bounds, collective);
  collective.sum(low_.span().subspan(at, size));
  for (std::size_t i = 0; i < rows.size(); ++i) {
    bounds_[rows[i].index] =
        bounds[i] < kCommonWide ? std::uint64_t(bounds[i]) << kCommonUnitBits : kMostBound;
  }
}

/// The high words of rows whose common bound says that they are needed.
void IntegerSums::reduce_wide(std::span<const SumRow> rows, std::span<const std::int32_t> bounds,
                              Collective& collective) {
  std::size_t first = 0;  // row of the piece
  while (first < rows.size()) {
    std::size_t filled = 0, end = first;
    for (; end < rows.size(); ++end) {
      if (bounds[end] < kCommonWide) continue;
      const SumRow& row = rows[end];
      if (filled + row.size > piece_.size()) break;
      for (std::size_t i = 0; i < row.size; ++i) {
        piece_[filled++] = wide(row.at + i, is_narrow(row));
      }
    }
    if (filled > 0) collective.sum(std::span(piece_).first(filled));
    filled = 0;
    for (; first < end; ++first) {
      if (bounds[first] < kCommonWide) continue;
      const SumRow& row = rows[first];
      for (std::size_t i = 0; i < row.size; ++i) {
        high_[row.at + i] = static_cast<std::int32_t>(piece_[filled++] >> 32);
      }
    }
  }
}

double IntegerSums::settle(const SumRow& row) {
  if (!is_narrow(row)) bounds_[row.index] = largest(row);
  if (is_narrow(row)) return kernels_->integer_norm(low_.data() + row.at, row.size).squares;
  double squares = 0;
  for (std::size_t i = row.at; i < row.at + row.size; ++i) {
    const auto value = static_cast<double>(wide(i, false));
    squares += value * value;
  }
  return squares;
}

const std::int32_t* IntegerSums::narrow(const SumRow& row) const {
  return is_narrow(row) ? low_.data() + row.at : nullptr;
}

void IntegerSums::to_floats(const SumRow& row, std::size_t first, std::span<float> values) const {
  const bool narrow = is_narrow(row);
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = static_cast<float>(wide(row.at + first + i, narrow));
  }
}

}  // namespace cllm::train
