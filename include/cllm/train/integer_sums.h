#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "cllm/base/aligned_buffer.h"
#include "cllm/kernels/kernels.h"
#include "cllm/model/gradient.h"
#include "cllm/ranks/process_group.h"

namespace cllm::train {

/// A row of a tile: the integers that have one exponent.
struct SumRow {
  std::size_t index;  ///< among all rows
  std::size_t at;     ///< its first element
  std::size_t size;
};

/// Elements that are added up over ranks in one piece.
struct SumRange {
  std::size_t at, size;
  /// Of each rank, within the range, counted from its first element: it gets the sum of that alone.
  /// None: each rank gets all.
  std::span<const ranks::Part> parts = {};
};

/// Adds the values of all ranks, of one range. T is float or std::int32_t.
template <typename T>
void reduce(std::span<T> values, const SumRange& range, ranks::ProcessGroup& process_group) {
  const std::span<T> some = values.subspan(range.at, range.size);
  if (range.parts.empty()) {
    process_group.all_reduce(some);
  } else {
    process_group.reduce_scatter(some, range.parts);
  }
}

/// Throws Error where ranks are more than their common bounds can be added for.
void check_ranks(int ranks);

/// The rows of a tiling as they lie in a flat buffer, by their number.
std::vector<SumRow> rows_of(const model::Layout& layout, const model::Tiling& tiling);

/// Note [Wide sums]
///
/// Sums of integers of 64 bits, so that a row may have bits for its smallest contributions and room
/// for one that is 2^28 times larger. Nearly all rows fit 32 bits nearly always, so the words lie
/// apart: low words are what is added, sent and updated with as if sums had 32 bits, and the high
/// words of a row are touched only when the row needs them.
///
/// Each row has a bound on the magnitude of its elements: the sum of its contributions' largest.
/// While that is below 2^31 the low words are the sum. When it gets beyond, high words begin, which
/// count 2^30: what low words hold is carried to them, and again whenever contributions since the
/// last time come to 2^31. So most contributions still touch the low words alone, also where there
/// are thousands. When all is added, words become halves of integers of 64 bits.
///
/// Between ranks the low words, modulo 2^32, are always added. The bounds go before
/// them, as one integer for each row, and where they come to 2^31 or more, the row is first added
/// up in 64 bits: its high words are kept of that, and its low words follow with all others.
///
/// What a row holds doesn't depend on whether it has high words; `settle` drops those that are not
/// needed, after which that doesn't depend on the order of contributions either.
class IntegerSums {
 public:
  /// The most that a contribution may be, and that all contributions to a tile may come to.
  static constexpr double kMost = 0x1p60;
  /// A contribution's size as `add` returns it is in units of this, rounded up.
  static constexpr double kSizeUnit = 0x1p24;
  /// Sums of sizes below this are sums of contributions below kMost.
  static constexpr std::int64_t kMostSize = std::int64_t{1} << 36;

  IntegerSums() = default;
  /// For so many elements and rows of at most `longest` elements. Throws std::bad_alloc.
  IntegerSums(const kernels::Kernels& kernels, std::size_t elements, std::size_t rows,
              std::size_t longest);

  /// Forgets all rows: their elements are what their first contribution stores, or `zero` makes 0.
  void clear();
  /// The elements from `begin` to `end` of forgotten rows become 0.
  void zero(std::size_t begin, std::size_t end);
  /// Adds round(values * 2^exponent). `first`: nothing was added to the row before. Returns the
  /// size of the contribution; one that is too large, or not finite, is not added. Rows are
  /// independent: distinct ones may be added to at once. Nothing is added to a row after what
  /// follows here.
  std::int64_t add(const SumRow& row, const float* values, std::int32_t exponent, bool first);
  /// Adds the other ranks' sums to the rows, which make up the elements of the ranges, and sizes of
  /// rows alike; where a range has parts by ranks, to this rank's part alone, and the elements of
  /// the others are undefined after it. All ranks call it alike.
  void reduce(std::span<const SumRow> rows, std::span<const SumRange> ranges,
              ranks::ProcessGroup& process_group);
  /// to += from.
  void fold(const SumRow& from, const SumRow& to);

  /// Drops high words that the row doesn't need. Returns the sum of its squares, in double and in
  /// an order fixed by its size.
  double settle(const SumRow& row);
  /// Of a settled row: its integers, or null where they have more than 32 bits.
  const std::int32_t* narrow(const SumRow& row) const;
  /// Its integers from the `first` on, rounded to floats.
  void to_floats(const SumRow& row, std::size_t first, std::span<float> values) const;

  /// Bytes that one allocates. High words that no row needs take no memory.
  static std::size_t bytes_for(std::size_t elements, std::size_t rows, bool with_high_words);

 private:
  bool is_narrow(const SumRow& row) const { return bounds_[row.index] <= kMostNarrow; }
  bool is_carried(const SumRow& row) const { return !is_narrow(row) && low_bounds_[row.index] > 0; }
  void make_room(const SumRow& row, std::uint32_t size);
  void carry(const SumRow& row);
  void join_words(const SumRow& row);
  std::int64_t value(const SumRow& row, std::size_t i) const;
  std::uint64_t largest(const SumRow& row) const;
  void reduce_wide(std::span<const SumRow> rows, std::span<const std::int32_t> bounds,
                   ranks::ProcessGroup& process_group);

  static constexpr std::uint64_t kMostNarrow = 0x7fffffff;
  static constexpr int kCarryBits = 30;
  /// The most that is left in a low word when it was carried.
  static constexpr std::uint32_t kLeft = std::uint32_t{1} << (kCarryBits - 1);

  const kernels::Kernels* kernels_ = nullptr;
  AlignedBuffer<std::int32_t> low_;
  AlignedBuffer<std::int32_t> high_;
  std::vector<std::uint64_t> bounds_;        // per row
  std::vector<std::uint32_t> low_bounds_;    // of carried rows' low words; 0 for halves of 64 bits
  std::vector<std::int32_t> common_bounds_;  // of the rows that are being reduced
  std::vector<std::int64_t> piece_;          // of rows that are reduced in 64 bits
};

}  // namespace cllm::train
