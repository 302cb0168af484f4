#include "cllm/lattice/nearest_plane.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "cllm/base/error.h"
#include "gram_schmidt.h"

namespace cllm::lattice {
namespace {

/// Targets that are decoded side by side: each coordinate's are neighbours in memory, so that the
/// compiler takes several at once and the basis is read once for all of them.
constexpr std::size_t kLanes = 8;

/// Codes beyond this are not exact in double.
constexpr double kMostCode = 0x1p53;

/// A (rows, kLanes) array.
using Tile = std::vector<double>;

/// A pair of lanes, which every x86-64 computes at once; left to itself, the compiler takes pairs
/// from neighbouring rows and shuffles them.
using Pair [[gnu::vector_size(2 * sizeof(double))]] = double;
constexpr std::size_t kPairs = kLanes / 2;

/// sums (kLanes) += the sum over k from `first` to `last` of numbers[k] tile[k].
void add_products(const double* numbers, const double* tile, std::size_t first, std::size_t last,
                  double* sums) {
  Pair local[kPairs];
  std::memcpy(local, sums, sizeof(local));
  for (std::size_t k = first; k < last; ++k) {
    Pair row[kPairs];
    std::memcpy(row, tile + k * kLanes, sizeof(row));
    for (std::size_t pair = 0; pair < kPairs; ++pair) local[pair] += numbers[k] * row[pair];
  }
  std::memcpy(sums, local, sizeof(local));
}

/// Nearest planes, the last first. With `own` (n) what a vector's coordinate is without the others,
/// code(i) = round(own(i) + sum over k > i of carry(k) mu(k, i)), where carry(k) is what is left of
/// the target along b_k: all of its coefficient there, `given` (n), less the code. Where a target's
/// coefficients are those of the basis, given = own; where they are those of the b*, given = 0.
void decode_tile(const std::vector<double>& mu_transposed, const Tile& own, bool given, Tile& carry,
                 Tile& codes) {
  const std::size_t n = own.size() / kLanes;
  for (std::size_t i = n; i-- > 0;) {
    double sums[kLanes];
    std::copy_n(&own[i * kLanes], kLanes, sums);
    add_products(&mu_transposed[i * n], carry.data(), i + 1, n, sums);
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      const std::size_t at = i * kLanes + lane;
      codes[at] = std::nearbyint(sums[lane]);
      carry[at] = (given ? own[at] : 0) - codes[at];
    }
  }
}

/// Decodes targets of `width` numbers, kLanes at a time. `enter(target, own, whole)` is given a
/// (width, kLanes) tile and sets `own` (n, kLanes) and the codes that it has already taken off.
template <typename Enter>
void decode_all(const std::vector<double>& mu_transposed, std::size_t n, std::size_t width,
                bool given, std::span<const double> targets, std::span<std::int64_t> codes,
                const Enter& enter) {
  const std::size_t count = codes.size() / n;
  if (codes.size() != count * n || targets.size() != count * width) {
    fail("{} numbers are not the targets, of {} each, of {} integers of codes, of {} each",
         targets.size(), width, codes.size(), n);
  }
  Tile target(width * kLanes);
  Tile own(n * kLanes);
  Tile whole(n * kLanes);
  Tile carry(n * kLanes);
  Tile rest(n * kLanes);
  for (std::size_t first = 0; first < count; first += kLanes) {
    const std::size_t lanes = std::min(kLanes, count - first);
    for (std::size_t lane = 0; lane < lanes; ++lane) {
      const double* const from = &targets[(first + lane) * width];
      for (std::size_t j = 0; j < width; ++j) target[j * kLanes + lane] = from[j];
    }
    enter(target, own, whole);
    decode_tile(mu_transposed, own, given, carry, rest);
    for (std::size_t lane = 0; lane < lanes; ++lane) {
      std::int64_t* const to = &codes[(first + lane) * n];
      for (std::size_t i = 0; i < n; ++i) {
        const double code = whole[i * kLanes + lane] + rest[i * kLanes + lane];
        if (!(std::abs(code) < kMostCode)) {
          fail("target {} is not finite, or so far from 0 that its code does not fit 53 bits",
               first + lane);
        }
        to[i] = static_cast<std::int64_t>(code);
      }
    }
  }
}

}  // namespace

NearestPlane::NearestPlane(std::span<const double> basis, std::size_t vectors)
    : vectors_(vectors), mu_transposed_(vectors * vectors) {
  GramSchmidt process = gram_schmidt(basis, vectors);
  columns_ = basis.size() / vectors;
  projections_ = std::move(process.directions);
  for (std::size_t i = 0; i < vectors; ++i) {
    const double length = process.triangle[i * vectors + i];
    squared_lengths_.push_back(length * length);
    for (std::size_t j = 0; j < columns_; ++j) projections_[i * columns_ + j] /= length;
    for (std::size_t k = i + 1; k < vectors; ++k) {
      mu_transposed_[i * vectors + k] = process.triangle[k * vectors + i] / length;
    }
  }
}

void NearestPlane::decode(std::span<const double> targets, std::span<std::int64_t> codes) const {
  decode_all(mu_transposed_, vectors_, columns_, false, targets, codes,
             [this](const Tile& target, Tile& own, Tile&) {
               std::ranges::fill(own, 0.0);
               for (std::size_t i = 0; i < vectors_; ++i) {
                 add_products(&projections_[i * columns_], target.data(), 0, columns_,
                              &own[i * kLanes]);
               }
             });
}

void NearestPlane::decode_coefficients(std::span<const double> coefficients,
                                       std::span<std::int64_t> codes) const {
  // The integers are taken off first: only fractions are worked on, so that large coefficients lose
  // no digits.
  decode_all(mu_transposed_, vectors_, vectors_, true, coefficients, codes,
             [](const Tile& target, Tile& own, Tile& whole) {
               for (std::size_t at = 0; at < target.size(); ++at) {
                 whole[at] = std::nearbyint(target[at]);
                 own[at] = target[at] - whole[at];
               }
             });
}

double NearestPlane::error_bound() const {
  return std::sqrt(3 * expected_squared_error());  // (1/2)^2 = 3 / 12
}

double NearestPlane::expected_squared_error() const {
  return std::reduce(squared_lengths_.begin(), squared_lengths_.end()) / 12;
}

}  // namespace cllm::lattice
