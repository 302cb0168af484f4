#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace cllm::lattice {

/// A matrix of integers, row-major. As a basis, its rows are the basis vectors. Plain data:
/// distinct elements may be written by distinct threads.
class IntegerMatrix {
 public:
  IntegerMatrix() = default;
  /// Zeros.
  IntegerMatrix(std::size_t rows, std::size_t columns)
      : rows_(rows), columns_(columns), values_(rows * columns) {}
  /// `values` (rows, columns). Throws Error where there are more or fewer.
  IntegerMatrix(std::size_t rows, std::size_t columns, std::vector<std::int64_t> values);

  static IntegerMatrix identity(std::size_t n);

  std::size_t rows() const { return rows_; }
  std::size_t columns() const { return columns_; }
  std::int64_t& operator()(std::size_t i, std::size_t j) { return values_[i * columns_ + j]; }
  std::int64_t operator()(std::size_t i, std::size_t j) const { return values_[i * columns_ + j]; }
  std::span<std::int64_t> row(std::size_t i) { return {&values_[i * columns_], columns_}; }
  std::span<const std::int64_t> row(std::size_t i) const {
    return {&values_[i * columns_], columns_};
  }
  /// All elements (rows, columns).
  std::span<const std::int64_t> values() const { return values_; }

  friend bool operator==(const IntegerMatrix&, const IntegerMatrix&) = default;

 private:
  std::size_t rows_ = 0;
  std::size_t columns_ = 0;
  std::vector<std::int64_t> values_;
};

/// The largest |element| as a number of binary digits: every |element| < 2^bit_width; 0 for zeros.
int bit_width(const IntegerMatrix& matrix);

/// The power of two by which the largest |value| becomes a number of `bits` binary digits, that is,
/// at least 2^(bits-1) and below 2^bits. Throws Error where all values are 0, one is not finite, or
/// `bits` is not in 1..52.
double power_of_two_scale(std::span<const double> values, int bits);

/// round(scale * values), halves away from zero, of a real matrix (rows, columns). Throws Error
/// where the scale is not positive, or a product is not finite or not below 2^53.
IntegerMatrix quantize(std::span<const double> values, std::size_t rows, std::size_t columns,
                       double scale);

/// transform (n, n) times a real matrix (n, columns), summed in double: a reduced basis in the
/// numbers from which the integers that were reduced had been rounded. Throws Error for shapes that
/// don't fit.
std::vector<double> multiply(const IntegerMatrix& transform, std::span<const double> basis,
                             std::size_t columns);

}  // namespace cllm::lattice
