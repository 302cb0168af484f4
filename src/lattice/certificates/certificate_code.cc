#include "cllm/lattice/certificates/certificate_code.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "bytes.h"
#include "cllm/base/error.h"
#include "cllm/lattice/coordinates.h"

namespace cllm::lattice {
namespace {

/// `before` below its diagonal and on it, and `transform` (n, n), side by side as rows of 2 n.
std::vector<std::int32_t> numbers_of(const Certificate& certificate) {
  const std::size_t n = certificate.transform.rows();
  std::vector<std::int32_t> numbers;
  for (std::size_t i = 0; i < n; ++i) {
    for (const IntegerMatrix* matrix : {&certificate.before, &certificate.transform}) {
      for (const std::int64_t value : matrix->row(i)) {
        numbers.push_back(static_cast<std::int32_t>(value));
      }
    }
  }
  return numbers;
}

/// What has integers as its inverse, or else anything: `fault` says which. By elimination with
/// pivots in double, whose errors rounding removes where the inverse is not large.
IntegerMatrix rounded_inverse(const IntegerMatrix& matrix) {
  const std::size_t n = matrix.rows();
  IntegerMatrix inverse(n, n);
  std::vector<std::vector<double>> rows(n);
  for (std::size_t i = 0; i < n; ++i) {
    rows[i].assign(matrix.row(i).begin(), matrix.row(i).end());
    rows[i].resize(2 * n);
    rows[i][n + i] = 1;
  }
  for (std::size_t k = 0; k < n; ++k) {
    for (std::size_t i = k + 1; i < n; ++i) {
      if (std::abs(rows[i][k]) > std::abs(rows[k][k])) std::swap(rows[i], rows[k]);
    }
    const double pivot = rows[k][k];
    for (double& value : rows[k]) value /= pivot;
    for (std::size_t i = 0; i < n; ++i) {
      const double factor = rows[i][k];
      if (i == k || factor == 0) continue;
      for (std::size_t j = k; j < 2 * n; ++j) rows[i][j] -= factor * rows[k][j];
    }
  }
  constexpr double kMost = 1ULL << 52;
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t j = 0; j < n; ++j) {
      const double value = rows[i][n + j];
      inverse(i, j) = std::abs(value) < kMost ? std::llround(value) : 0;
    }
  }
  return inverse;
}

/// transform · before. Numbers of 28 bits can't overflow the sums.
IntegerMatrix product(const IntegerMatrix& transform, const IntegerMatrix& before) {
  const std::size_t n = before.rows();
  IntegerMatrix result(n, n);
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t k = 0; k < n; ++k) {
      for (std::size_t j = 0; j < n; ++j) result(i, j) += transform(i, k) * before(k, j);
    }
  }
  return result;
}

}  // namespace

std::string encode_certificates(std::span<const Certificate> certificates) {
  std::string bytes;
  const auto block = certificates.empty() ? 0 : certificates.front().transform.rows();
  append(bytes, static_cast<std::uint32_t>(block));
  for (const Certificate& certificate : certificates) {
    const std::string coded = encode_coordinates(
        numbers_of(certificate), 2 * certificate.transform.rows(), LatticeKind::kIntegers);
    append(bytes, static_cast<std::uint32_t>(coded.size()));
    bytes += coded;
  }
  return bytes;
}

void check_certificates(std::string_view bytes, std::size_t columns) {
  const std::size_t block = take<std::uint32_t>(bytes);
  constexpr std::size_t kMostColumns = 1024;
  if (block == 0 || block > kMostColumns) fail("a reduced basis has {} columns", block);
  for (std::size_t begin = 0; begin < columns; begin += block) {
    const std::size_t n = std::min(block, columns - begin);
    const std::size_t size = take<std::uint32_t>(bytes);
    if (size > bytes.size()) fail("the certificates are cut short");
    std::vector<std::int32_t> numbers(2 * n * n);
    decode_coordinates(bytes.substr(0, size), 2 * n, LatticeKind::kIntegers, numbers);
    bytes.remove_prefix(size);
    Certificate certificate{.before = IntegerMatrix(n, n),
                            .transform = IntegerMatrix(n, n),
                            .inverse = {},
                            .reduced = {}};
    for (std::size_t i = 0; i < n; ++i) {
      for (std::size_t j = 0; j < n; ++j) {
        certificate.before(i, j) = numbers[i * 2 * n + j];
        certificate.transform(i, j) = numbers[i * 2 * n + n + j];
      }
    }
    certificate.inverse = rounded_inverse(certificate.transform);
    certificate.reduced = product(certificate.transform, certificate.before);
    if (const std::optional<std::string> found = fault(certificate)) {
      fail("the certificate for columns {} to {} does not hold ({})", begin, begin + n - 1, *found);
    }
  }
  if (!bytes.empty()) fail("more certificates than columns");
}

}  // namespace cllm::lattice
