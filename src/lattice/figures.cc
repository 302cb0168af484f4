#include "cllm/lattice/figures.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <mutex>
#include <numbers>

#include "cllm/base/error.h"
#include "fplll_bridge.h"
#include "gram_schmidt.h"

namespace cllm::lattice {
namespace {

/// Tours of block reduction; what later ones change is little (Hanrot, Pujol and Stehlé, "Analyzing
/// Blockwise Lattice Algorithms Using Dynamical Systems", CRYPTO 2011).
constexpr int kMostTours = 8;

/// fplll was built for enumeration in at most so many dimensions.
constexpr std::size_t kMostEnumerated = FPLLL_MAX_ENUM_DIM;

/// Relative error of a Gram-Schmidt length of a reduced basis in double, with room to spare.
constexpr double kLengthError = 0x1p-36;

/// Below this, doubles that are integers have room for fractions of a thousandth.
constexpr double kMostExactSquare = 0x1p43;

std::vector<double> to_doubles(const IntegerMatrix& matrix) {
  std::vector<double> result(matrix.values().size());
  std::ranges::transform(matrix.values(), result.begin(),
                         [](std::int64_t value) { return static_cast<double>(value); });
  return result;
}

double squared_length(std::span<const std::int64_t> vector) {
  double sum = 0;
  for (const std::int64_t value : vector) {
    sum += static_cast<double>(value) * static_cast<double>(value);
  }
  return sum;
}

/// log2 of the product of the rows' lengths.
double log2_lengths(const IntegerMatrix& basis) {
  double sum = 0;
  for (std::size_t i = 0; i < basis.rows(); ++i) sum += std::log2(squared_length(basis.row(i))) / 2;
  return sum;
}

/// The squared length of the basis' shortest vector.
double shortest_row(const IntegerMatrix& basis) {
  double shortest = std::numeric_limits<double>::infinity();
  for (std::size_t i = 0; i < basis.rows(); ++i) {
    shortest = std::min(shortest, squared_length(basis.row(i)));
  }
  return shortest;
}

/// log2 of how many nodes enumeration within `radius` is expected to visit: half the points of each
/// projected lattice in a ball, by the Gaussian heuristic (Hanrot and Stehlé, "Improved Analysis of
/// Kannan's Shortest Lattice Vector Algorithm", CRYPTO 2007). Level k has the last k directions.
double log2_nodes(const std::vector<double>& profile, double radius) {
  double most = 0;
  double log2_level = -1;
  for (std::size_t k = 1; k <= profile.size(); ++k) {
    log2_level += std::log2(radius) - profile[profile.size() - k];
    const double half = static_cast<double>(k) / 2;
    const double log2_ball =
        half * std::log2(std::numbers::pi) - std::lgamma(half + 1) * std::numbers::log2e;
    most = std::max(most, log2_level + log2_ball);
  }
  // The widest levels lie close together: the sum is at most all of them as wide as the widest.
  return most + std::log2(static_cast<double>(profile.size()));
}

IntegerMatrix block_reduced(const IntegerMatrix& basis, int block_size) {
  const std::lock_guard lock(fplll_turn());
  fplll::ZZ_mat<mpz_t> work = to_fplll<mpz_t>(basis);
  std::vector<fplll::Strategy> none;
  const fplll::BKZParam how(std::min(block_size, static_cast<int>(basis.rows())), none,
                            fplll::LLL_DEF_DELTA, fplll::BKZ_MAX_LOOPS | fplll::BKZ_AUTO_ABORT,
                            kMostTours);
  fplll::bkz_reduction(&work, nullptr, how);
  return from_fplll(work, "result");
}

/// The squared length of a shortest vector, by enumeration.
double enumerate(const IntegerMatrix& basis) {
  const std::lock_guard lock(fplll_turn());
  fplll::ZZ_mat<mpz_t> work = to_fplll<mpz_t>(basis);
  std::vector<fplll::Z_NR<mpz_t>> coefficients;
  if (fplll::shortest_vector(work, coefficients, fplll::SVPM_PROVED) != fplll::RED_SUCCESS) {
    return std::numeric_limits<double>::infinity();
  }
  std::vector<fplll::Z_NR<mpz_t>> shortest;
  fplll::vector_matrix_product(shortest, coefficients, work);
  double squares = 0;
  for (const fplll::Z_NR<mpz_t>& value : shortest) squares += value.get_d() * value.get_d();
  return squares;
}

}  // namespace

std::vector<double> log2_profile(std::span<const double> basis, std::size_t vectors) {
  const GramSchmidt process = gram_schmidt(basis, vectors);
  std::vector<double> result(vectors);
  for (std::size_t i = 0; i < vectors; ++i) {
    result[i] = std::log2(process.triangle[i * vectors + i]);
  }
  return result;
}

Figures figures(const Certificate& certificate, const Effort& effort) {
  const IntegerMatrix& reduced = certificate.reduced;
  const std::size_t n = reduced.rows();
  Figures result{};
  for (const double length : log2_profile(to_doubles(reduced), n)) {
    result.log2_determinant += length;
  }
  result.log2_defect_before = log2_lengths(certificate.before) - result.log2_determinant;
  result.log2_defect_after = log2_lengths(reduced) - result.log2_determinant;

  const IntegerMatrix basis =
      effort.block_size >= 2 && n >= 2 ? block_reduced(reduced, effort.block_size) : reduced;
  const std::vector<double> profile = log2_profile(to_doubles(basis), n);
  double found = std::min(shortest_row(basis), shortest_row(reduced));
  // No vector is shorter than the shortest |b*_i|, where b*_0 is b_0; and its square is an integer.
  double least = squared_length(basis.row(0));
  for (std::size_t i = 1; i < n; ++i) {
    least = std::min(least, std::exp2(2 * profile[i]) * (1 - kLengthError));
  }
  if (least < kMostExactSquare) least = std::ceil(least);
  if (least < found && n <= kMostEnumerated &&
      log2_nodes(profile, std::sqrt(found)) <= std::log2(effort.nodes)) {
    if (const double squares = enumerate(basis); squares <= found) least = found = squares;
  }
  result.shortest_least = std::sqrt(std::min(least, found));
  result.shortest_found = std::sqrt(found);
  result.shortest_exact = least >= found;
  return result;
}

}  // namespace cllm::lattice
