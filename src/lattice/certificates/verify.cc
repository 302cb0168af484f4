#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "cllm/base/error.h"
#include "cllm/lattice/certificates/certificate.h"
#include "reducedness.h"

namespace cllm::lattice {
namespace {

using Fault = std::optional<std::string>;

// --- Exact products ------------------------------------------------------------------------------

/// Row i of a b. No sum can overflow where both have at most kMostBits and kMostVectors.
void multiply_row(const IntegerMatrix& a, const IntegerMatrix& b, std::size_t i, Wide* product) {
  std::fill_n(product, b.columns(), Wide{0});
  for (std::size_t k = 0; k < a.columns(); ++k) {
    const Wide factor = a(i, k);
    if (factor == 0) continue;
    const std::int64_t* const row = b.row(k).data();
    for (std::size_t j = 0; j < b.columns(); ++j) product[j] += factor * row[j];
  }
}

/// The first element at which a b differs from what `expected(i, j)` says.
template <typename Expected>
std::optional<std::pair<std::size_t, std::size_t>> first_difference(const IntegerMatrix& a,
                                                                    const IntegerMatrix& b,
                                                                    const Expected& expected) {
  std::vector<Wide> product(b.columns());
  for (std::size_t i = 0; i < a.rows(); ++i) {
    multiply_row(a, b, i, product.data());
    for (std::size_t j = 0; j < b.columns(); ++j) {
      if (product[j] != expected(i, j)) return std::pair{i, j};
    }
  }
  return std::nullopt;
}

/// R Rᵀ, its lower triangle.
WideMatrix gram_of(const IntegerMatrix& basis) {
  WideMatrix gram(basis.rows(), basis.rows());
  for (std::size_t i = 0; i < basis.rows(); ++i) {
    const std::int64_t* const a = basis.row(i).data();
    for (std::size_t j = 0; j <= i; ++j) {
      const std::int64_t* const b = basis.row(j).data();
      Wide sum = 0;
      for (std::size_t k = 0; k < basis.columns(); ++k) sum += Wide{a[k]} * b[k];
      gram.row(i)[j] = sum;
    }
  }
  return gram;
}

// --- The determinant modulo a prime --------------------------------------------------------------

constexpr std::uint64_t kPrime = (std::uint64_t{1} << 61) - 1;

std::uint64_t multiply_modulo(std::uint64_t a, std::uint64_t b) {
  const auto product = static_cast<unsigned __int128>(a) * b;
  const std::uint64_t sum =
      static_cast<std::uint64_t>(product & kPrime) + static_cast<std::uint64_t>(product >> 61);
  return sum >= kPrime ? sum - kPrime : sum;
}

/// a^(p-2), which is 1/a for a != 0.
std::uint64_t invert_modulo(std::uint64_t a) {
  std::uint64_t result = 1;
  for (std::uint64_t exponent = kPrime - 2; exponent != 0; exponent >>= 1) {
    if (exponent & 1) result = multiply_modulo(result, a);
    a = multiply_modulo(a, a);
  }
  return result;
}

/// Whether the determinant is 1 or -1 modulo kPrime, by Gaussian elimination.
bool determinant_is_unit(const IntegerMatrix& matrix) {
  const std::size_t n = matrix.rows();
  std::vector<std::uint64_t> values(n * n);
  std::ranges::transform(matrix.values(), values.begin(), [](std::int64_t value) {
    const std::int64_t rest = value % static_cast<std::int64_t>(kPrime);
    return static_cast<std::uint64_t>(rest < 0 ? rest + static_cast<std::int64_t>(kPrime) : rest);
  });
  std::uint64_t determinant = 1;  // up to its sign
  for (std::size_t k = 0; k < n; ++k) {
    std::size_t pivot = k;
    while (pivot < n && values[pivot * n + k] == 0) ++pivot;
    if (pivot == n) return false;
    std::uint64_t* const top = &values[k * n];
    if (pivot != k) std::swap_ranges(top, top + n, &values[pivot * n]);
    determinant = multiply_modulo(determinant, top[k]);
    const std::uint64_t inverse = invert_modulo(top[k]);
    for (std::size_t i = k + 1; i < n; ++i) {
      std::uint64_t* const row = &values[i * n];
      if (row[k] == 0) continue;
      const std::uint64_t factor = kPrime - multiply_modulo(row[k], inverse);
      for (std::size_t j = k + 1; j < n; ++j) {
        const std::uint64_t sum = row[j] + multiply_modulo(factor, top[j]);
        row[j] = sum >= kPrime ? sum - kPrime : sum;
      }
    }
  }
  return determinant == 1 || determinant == kPrime - 1;
}

// --- Shapes and transforms -----------------------------------------------------------------------

Fault shape_fault(const char* name, const IntegerMatrix& matrix, std::size_t rows,
                  std::size_t columns) {
  if (matrix.rows() != rows || matrix.columns() != columns) {
    return fmt::format("its {} has the shape {}×{} instead of {}×{}", name, matrix.rows(),
                       matrix.columns(), rows, columns);
  }
  if (const int bits = bit_width(matrix); bits > kMostBits) {
    return fmt::format("its {} has integers of {} bits, more than {}", name, bits, kMostBits);
  }
  return std::nullopt;
}

Fault unimodular_fault(const IntegerMatrix& transform, const IntegerMatrix& inverse) {
  if (!determinant_is_unit(transform)) {
    return "the transform's determinant is not 1 or -1 modulo a prime";
  }
  if (const auto at = first_difference(
          transform, inverse, [](std::size_t i, std::size_t j) { return Wide{i == j ? 1 : 0}; })) {
    return fmt::format("the transform times its inverse is not the identity, at row {}, column {}",
                       at->first, at->second);
  }
  return std::nullopt;
}

Fault size_fault(std::size_t vectors, std::size_t columns) {
  if (vectors == 0 || vectors > columns || columns > kMostVectors) {
    return fmt::format(
        "a basis of {} vectors with {} columns can't be checked: there must be at least one "
        "vector, "
        "no more than columns, and at most {} columns",
        vectors, columns, kMostVectors);
  }
  return std::nullopt;
}

}  // namespace

Fault fault(const Certificate& certificate) {
  const auto& [before, transform, inverse, reduced, delta, eta, scale] = certificate;
  const std::size_t n = before.rows();
  const std::size_t m = before.columns();
  if (!(delta >= kDelta && delta <= 1)) {
    return fmt::format("its delta is {}, not in {}..1", delta, kDelta);
  }
  if (!(eta >= 0.5 && eta <= kEta)) return fmt::format("its eta is {}, not in 0.5..{}", eta, kEta);
  if (!(scale > 0 && std::isfinite(scale))) return fmt::format("its scale is {}", scale);
  if (auto what = size_fault(n, m)) return what;
  if (auto what = shape_fault("basis", before, n, m)) return what;
  if (auto what = shape_fault("transform", transform, n, n)) return what;
  if (auto what = shape_fault("inverse transform", inverse, n, n)) return what;
  if (auto what = shape_fault("reduced basis", reduced, n, m)) return what;
  if (auto what = unimodular_fault(transform, inverse)) return what;
  const auto entry = [&after = reduced](std::size_t i, std::size_t j) { return Wide{after(i, j)}; };
  if (const auto at = first_difference(transform, before, entry)) {
    return fmt::format(
        "the reduced basis is not the transform times the basis at row {}, column {}, so it may be "
        "of another lattice",
        at->first, at->second);
  }
  return reduced_fault(gram_of(reduced), delta, eta);
}

Fault gram_fault(const IntegerMatrix& before, const GramReduction& reduction) {
  const auto& [gram, transform, inverse] = reduction;
  const std::size_t n = before.rows();
  if (auto what = size_fault(n, before.columns())) return what;
  if (auto what = shape_fault("Gram matrix", before, n, n)) return what;
  if (auto what = shape_fault("transform", transform, n, n)) return what;
  if (auto what = shape_fault("inverse transform", inverse, n, n)) return what;
  if (auto what = shape_fault("reduced Gram matrix", gram, n, n)) return what;
  for (const IntegerMatrix* each : {&before, &gram}) {
    for (std::size_t i = 0; i < n; ++i) {
      for (std::size_t j = 0; j < i; ++j) {
        if ((*each)(i, j) != (*each)(j, i)) {
          return fmt::format("a Gram matrix is not symmetric at row {}, column {}", i, j);
        }
      }
    }
  }
  if (auto what = unimodular_fault(transform, inverse)) return what;
  // U before = gram V^T, which says the same as gram = U before U^T and needs no third factor.
  IntegerMatrix inverse_transposed(n, n);
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t j = 0; j < n; ++j) inverse_transposed(j, i) = inverse(i, j);
  }
  std::vector<Wide> product(n);
  WideMatrix wide(n, n);
  for (std::size_t i = 0; i < n; ++i) {
    multiply_row(transform, before, i, wide.row(i));
    multiply_row(gram, inverse_transposed, i, product.data());
    for (std::size_t j = 0; j < n; ++j) {
      if (wide.row(i)[j] != product[j]) {
        return fmt::format("the reduced Gram matrix is not of the same lattice, at row {}", i);
      }
    }
    std::ranges::copy(gram.row(i), wide.row(i));
  }
  return reduced_fault(wide, kDelta, kEta);
}

void check(const Certificate& certificate, const std::string& name) {
  if (const auto what = fault(certificate)) {
    fail("{}: its lattice's certificate does not hold: {}; it is damaged or was made wrongly", name,
         *what);
  }
}

}  // namespace cllm::lattice
