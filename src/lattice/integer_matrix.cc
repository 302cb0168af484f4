#include "cllm/lattice/integer_matrix.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <utility>

#include "cllm/base/error.h"

namespace cllm::lattice {
namespace {

/// Doubles beyond this are not all integers.
constexpr double kMostExact = 0x1p53;

}  // namespace

IntegerMatrix::IntegerMatrix(std::size_t rows, std::size_t columns,
                             std::vector<std::int64_t> values)
    : rows_(rows), columns_(columns), values_(std::move(values)) {
  // By division, because the product may wrap around to the right number.
  const bool fits = columns == 0
                        ? values_.empty()
                        : values_.size() % columns == 0 && values_.size() / columns == rows;
  if (!fits) {
    fail("{} integers are no matrix of {} rows and {} columns", values_.size(), rows, columns);
  }
}

IntegerMatrix IntegerMatrix::identity(std::size_t n) {
  IntegerMatrix result(n, n);
  for (std::size_t i = 0; i < n; ++i) result(i, i) = 1;
  return result;
}

int bit_width(const IntegerMatrix& matrix) {
  std::uint64_t any = 0;
  for (const std::int64_t value : matrix.values()) {
    const auto bits = static_cast<std::uint64_t>(value);
    any |= value < 0 ? 0 - bits : bits;  // |-2^63| is right as an unsigned number
  }
  return static_cast<int>(std::bit_width(any));
}

double power_of_two_scale(std::span<const double> values, int bits) {
  if (bits < 1 || bits > 52) fail("{} bits for the integers of a basis: give 1 to 52", bits);
  double largest = 0;
  for (const double value : values) {
    if (!std::isfinite(value)) fail("a basis with the element {} has no scale", value);
    largest = std::max(largest, std::abs(value));
  }
  if (largest == 0) fail("a basis of zeros has no scale");
  int exponent = 0;
  std::frexp(largest, &exponent);  // 2^(exponent-1) <= largest < 2^exponent
  const double scale = std::ldexp(1.0, bits - exponent);
  if (!std::isnormal(scale)) {
    fail("a basis with {} as its largest element has no scale: multiply it by a number", largest);
  }
  return scale;
}

IntegerMatrix quantize(std::span<const double> values, std::size_t rows, std::size_t columns,
                       double scale) {
  if (!(scale > 0) || !std::isfinite(scale)) fail("{} is no scale of a basis", scale);
  std::vector<std::int64_t> integers(values.size());
  std::ranges::transform(values, integers.begin(), [scale](double value) {
    const double rounded = std::round(value * scale);
    if (!(std::abs(rounded) < kMostExact)) {
      fail("{} times the scale {} does not fit an integer of 53 bits; take a smaller scale", value,
           scale);
    }
    return static_cast<std::int64_t>(rounded);
  });
  return {rows, columns, std::move(integers)};
}

std::vector<double> multiply(const IntegerMatrix& transform, std::span<const double> basis,
                             std::size_t columns) {
  if (basis.size() != transform.columns() * columns) {
    fail("a transform of {} columns does not fit a basis of {} numbers in {} columns",
         transform.columns(), basis.size(), columns);
  }
  std::vector<double> result(transform.rows() * columns);
  for (std::size_t i = 0; i < transform.rows(); ++i) {
    double* const to = result.data() + i * columns;
    for (std::size_t k = 0; k < transform.columns(); ++k) {
      if (transform(i, k) == 0) continue;
      const auto factor = static_cast<double>(transform(i, k));
      const double* const from = basis.data() + k * columns;
      for (std::size_t j = 0; j < columns; ++j) to[j] += factor * from[j];
    }
  }
  return result;
}

}  // namespace cllm::lattice
