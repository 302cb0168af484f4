#include "cllm/lattice/coordinates.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdlib>
#include <vector>

#include "cllm/base/error.h"
#include "cllm/lattice/range_coder.h"

namespace cllm::lattice {
namespace {

/// Magnitudes have at most so many bits.
constexpr unsigned kMostBits = 28;

/// Codes bits into a RangeEncoder: they come from the caller and go back to it.
class Writer {
 public:
  bool code(AdaptiveBit& model, bool bit) {
    encoder_.encode(model, bit);
    return bit;
  }
  std::uint32_t code_raw(std::uint32_t value, unsigned count) {
    encoder_.encode_raw(value, count);
    return value;
  }
  std::string finish() { return encoder_.finish(); }

 private:
  RangeEncoder encoder_;
};

/// The same calls, with bits that come from a RangeDecoder: one description of the code serves both
/// ways.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : decoder_(bytes) {}
  bool code(AdaptiveBit& model, bool) { return decoder_.decode(model); }
  std::uint32_t code_raw(std::uint32_t, unsigned count) { return decoder_.decode_raw(count); }
  bool is_at_end() const { return decoder_.is_at_end(); }

 private:
  RangeDecoder decoder_;
};

/// Magnitudes of about one size, as the number of their bits, in unary, then the bits below the
/// highest (Elias' gamma code with adaptive bits, of which the first two matter).
class MagnitudeModel {
 public:
  template <typename Coder>
  std::uint32_t code(Coder& coder, std::uint32_t magnitude) {
    const auto bits = static_cast<unsigned>(std::bit_width(magnitude));
    unsigned length = 0;
    while (length < kMostBits && coder.code(length_[length], length < bits)) ++length;
    if (length < 2) return length;
    std::uint32_t value = 1;
    unsigned left = length - 1;
    for (unsigned modelled = 0; modelled < 2 && left > 0; ++modelled) {
      --left;
      const bool bit = coder.code(next_[length][value - 1], (magnitude >> left & 1) != 0);
      value = value << 1 | static_cast<std::uint32_t>(bit);
    }
    return value << left | coder.code_raw(magnitude & ((1U << left) - 1), left);
  }

 private:
  std::array<AdaptiveBit, kMostBits> length_;
  std::array<std::array<AdaptiveBit, 3>, kMostBits + 1> next_;  // after the bits "1", "10", "11"
};

/// How large coordinates are at a row and column, by those before them: the mean of the column,
/// times the row's mean share of those. In units of 2^-8; integers alone, as both ways must agree.
class SizeEstimate {
 public:
  explicit SizeEstimate(std::size_t columns) : means_(columns, std::uint64_t{1} << kUnit) {}

  void begin_row() { row_ = expected_ = kPrior; }
  std::uint64_t at(std::size_t column) const { return means_[column] * row_ / expected_; }
  void add(std::size_t column, std::uint32_t magnitude) {
    std::uint64_t& mean = means_[column];
    row_ += std::uint64_t{magnitude} << kUnit;
    expected_ += mean;
    // Slowly, but for the first rows: until then it is the plain mean.
    const std::uint64_t weight = std::min<std::uint64_t>(seen_ + 1, kMemory);
    mean = (mean * (weight - 1) + (std::uint64_t{magnitude} << kUnit) + weight / 2) / weight;
  }
  void end_row() { ++seen_; }

 private:
  static constexpr unsigned kUnit = 8;
  static constexpr std::uint64_t kPrior = std::uint64_t{16} << kUnit, kMemory = 64;

  std::vector<std::uint64_t> means_;
  std::uint64_t row_ = 0, expected_ = 0, seen_ = 0;
};

/// Which coordinate it is decides what its magnitude can be.
enum Role : std::size_t { kInteger, kHalf, kLastEven, kLastOdd, kRoles };

/// One matrix, in either direction.
template <typename Coder>
class CoordinateCode {
 public:
  CoordinateCode(Coder& coder, std::size_t columns, LatticeKind kind)
      : coder_(coder), columns_(columns), kind_(kind), size_(columns) {}

  void code_row(std::span<std::int32_t> row) {
    size_.begin_row();
    std::size_t column = 0;
    if (kind_ == LatticeKind::kE8) {
      for (; column + kE8Dimension <= columns_; column += kE8Dimension) {
        code_e8(row.subspan(column, kE8Dimension), column);
      }
    }
    // Also E8's rest has twice its coordinates, so that a row has one unit.
    const std::int32_t unit = kind_ == LatticeKind::kE8 ? 2 : 1;
    for (; column < columns_; ++column) {
      const std::uint32_t magnitude = code_magnitude(kInteger, column, size_of(row[column] / unit));
      row[column] = unit * code_sign(magnitude, row[column]<0, magnitude> 0);
      size_.add(column, size_of(row[column]));
    }
    size_.end_row();
  }

 private:
  static std::uint32_t size_of(std::int32_t value) {
    return static_cast<std::uint32_t>(std::abs(value));
  }

  /// Twice the coordinates of a point of E8: all even, or all odd, with a sum that 4 divides.
  void code_e8(std::span<std::int32_t> point, std::size_t column) {
    const bool half = coder_.code(half_, (point[0] & 1) != 0);
    std::int64_t sum = 0;
    for (std::size_t i = 0; i < kE8Dimension; ++i) {
      const bool last = i + 1 == kE8Dimension;
      std::int32_t& twice = point[i];
      const bool negative = twice < 0;
      if (half) {
        // |x| = m + 1/2. The last one's sign follows from the sum.
        const std::uint32_t m = code_magnitude(kHalf, column + i, size_of(twice) / 2);
        const auto odd = static_cast<std::int32_t>(2 * m + 1);
        if (last) {
          twice = (sum + odd) % 4 == 0 ? odd : -odd;
        } else {
          twice = code_sign(2 * m + 1, negative, true);
        }
      } else {
        const bool odd = last && (sum & 2) != 0;
        const Role role = !last ? kInteger : odd ? kLastOdd : kLastEven;
        const std::uint32_t z = size_of(twice) / 2;
        const std::uint32_t coded = code_magnitude(role, column + i, last ? z / 2 : z);
        const std::uint32_t magnitude = last ? 2 * coded + (odd ? 1 : 0) : coded;
        twice = 2 * code_sign(magnitude, negative, magnitude > 0);
      }
      sum += twice;
      size_.add(column + i, size_of(twice));
    }
  }

  std::uint32_t code_magnitude(Role role, std::size_t column, std::uint32_t magnitude) {
    // Two models to an octave.
    const std::uint64_t expected = std::min<std::uint64_t>(size_.at(column) + 1, 1ULL << 40);
    const auto octave = static_cast<std::size_t>(std::bit_width(expected));
    const std::size_t upper = octave >= 2 ? expected >> (octave - 2) & 1 : 0;
    return models_[role][std::min(2 * octave + upper, kSizes - 1)].code(coder_, magnitude);
  }

  std::int32_t code_sign(std::uint32_t magnitude, bool negative, bool has_sign) {
    const auto value = static_cast<std::int32_t>(magnitude);
    return has_sign && coder_.code_raw(negative ? 1 : 0, 1) != 0 ? -value : value;
  }

  static constexpr std::size_t kSizes = 64;

  Coder& coder_;
  std::size_t columns_;
  LatticeKind kind_;
  SizeEstimate size_;
  AdaptiveBit half_;
  std::array<std::array<MagnitudeModel, kSizes>, kRoles> models_;
};

}  // namespace

std::string encode_coordinates(std::span<const std::int32_t> coordinates, std::size_t columns,
                               LatticeKind kind) {
  Writer writer;
  CoordinateCode code(writer, columns, kind);
  std::vector<std::int32_t> row(columns);  // what is coded is also given back
  for (std::size_t at = 0; at < coordinates.size(); at += columns) {
    std::ranges::copy(coordinates.subspan(at, columns), row.begin());
    code.code_row(row);
  }
  return writer.finish();
}

void decode_coordinates(std::string_view bytes, std::size_t columns, LatticeKind kind,
                        std::span<std::int32_t> coordinates) {
  Reader reader(bytes);
  CoordinateCode code(reader, columns, kind);
  for (std::size_t at = 0; at < coordinates.size(); at += columns) {
    code.code_row(coordinates.subspan(at, columns));
  }
  if (!reader.is_at_end()) fail("the coordinates are not as long as their matrix makes them");
}

}  // namespace cllm::lattice
