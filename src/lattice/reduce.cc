#include "cllm/lattice/reduce.h"

#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cllm/base/error.h"
#include "fplll_bridge.h"

namespace cllm::lattice {
namespace {

// fplll is asked for a little more than is proved: it works in floating point, and an enclosure
// needs room.
constexpr double kAimedDelta = 0.992;
constexpr double kAimedEta = 0.505;

/// Up to this many digits, 64-bit integers leave room for what becomes of them on the way, and
/// double for their products; not a promise, because every result is checked.
constexpr int kMostFastBits = 40;

IntegerMatrix transposed(const IntegerMatrix& matrix) {
  IntegerMatrix result(matrix.columns(), matrix.rows());
  for (std::size_t i = 0; i < matrix.rows(); ++i) {
    for (std::size_t j = 0; j < matrix.columns(); ++j) result(j, i) = matrix(i, j);
  }
  return result;
}

/// Sets transform, inverse and reduced from `before`; what comes out has to be checked.
template <typename Integer>
void run_lll(Certificate& certificate, fplll::LLLMethod method, fplll::FloatType digits) {
  const std::lock_guard lock(fplll_turn());
  fplll::ZZ_mat<Integer> basis = to_fplll<Integer>(certificate.before);
  fplll::ZZ_mat<Integer> transform = identity<Integer>(certificate.before.rows());
  fplll::ZZ_mat<Integer> inverse = transform;
  fplll::lll_reduction(basis, transform, inverse, kAimedDelta, kAimedEta, method, digits);
  certificate.reduced = from_fplll(basis, "result");
  certificate.transform = from_fplll(transform, "transform");
  certificate.inverse = from_fplll(inverse, "inverse transform");
}

/// The same of a Gram matrix.
template <typename Float>
GramReduction run_gram_lll(const IntegerMatrix& before) {
  fplll::ZZ_mat<mpz_t> gram = to_fplll<mpz_t>(before);
  fplll::ZZ_mat<mpz_t> transform = identity<mpz_t>(before.rows());
  fplll::ZZ_mat<mpz_t> inverse_transposed = transform;
  fplll::MatGSOGram<fplll::Z_NR<mpz_t>, fplll::FP_NR<Float>> process(
      gram, transform, inverse_transposed, fplll::GSO_INT_GRAM);
  fplll::LLLReduction<fplll::Z_NR<mpz_t>, fplll::FP_NR<Float>> reduction(
      process, kAimedDelta, kAimedEta, fplll::LLL_DEFAULT);
  reduction.lll();
  process.symmetrize_g();
  return {.gram = from_fplll(gram, "result"),
          .transform = from_fplll(transform, "transform"),
          .inverse = transposed(from_fplll(inverse_transposed, "inverse transform"))};
}

/// Digits with which the floating-point reduction of n vectors is proved to end: 1.6 bits for each
/// (Nguyen and Stehlé 2009), and those of the input.
int safe_precision(std::size_t n, int bits) { return static_cast<int>(2 * n) + bits + 64; }

void require_size(const IntegerMatrix& matrix) {
  if (matrix.rows() == 0 || matrix.rows() > matrix.columns() || matrix.columns() > kMostVectors) {
    fail(
        "a basis of {} vectors with {} columns can't be reduced: give at least one vector, no more "
        "than columns, and at most {} columns",
        matrix.rows(), matrix.columns(), kMostVectors);
  }
  if (const int bits = bit_width(matrix); bits > kMostBits) {
    fail("a basis with integers of {} bits can't be reduced: round it to at most {}", bits,
         kMostBits);
  }
}

[[noreturn]] void refuse(const std::string& what) {
  fail(
      "the lattice can't be reduced: {}; check that its vectors are linearly independent, or round "
      "them to another number of bits",
      what);
}

}  // namespace

Certificate reduce(IntegerMatrix basis, double scale) {
  require_size(basis);
  Certificate certificate;
  certificate.before = std::move(basis);
  certificate.scale = scale;
  if (bit_width(certificate.before) <= kMostFastBits) {
    run_lll<long>(certificate, fplll::LM_FAST, fplll::FT_DOUBLE);
    if (!fault(certificate)) return certificate;
  }
  run_lll<mpz_t>(certificate, fplll::LM_WRAPPER, fplll::FT_DEFAULT);
  if (const auto what = fault(certificate)) refuse(*what);
  return certificate;
}

Certificate reduce(std::span<const double> basis, std::size_t vectors, int bits) {
  if (vectors == 0 || basis.size() % vectors != 0) {
    fail("{} numbers are no basis of {} vectors", basis.size(), vectors);
  }
  const double scale = power_of_two_scale(basis, bits);
  return reduce(quantize(basis, vectors, basis.size() / vectors, scale), scale);
}

Certificate reduce_cholesky(std::span<const double> lower, std::size_t n, int bits) {
  if (lower.size() != n * n) fail("{} numbers are no {}×{} Cholesky factor", lower.size(), n, n);
  std::vector<double> basis(lower.begin(), lower.end());
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t j = i + 1; j < n; ++j) basis[i * n + j] = 0;
  }
  const double scale = power_of_two_scale(basis, bits);
  IntegerMatrix integers = quantize(basis, n, n, scale);
  for (std::size_t i = 0; i < n; ++i) {
    if (integers(i, i) <= 0) {
      fail(
          "a Cholesky factor with {} at place {} of its diagonal has no lattice at {} bits: damp "
          "the "
          "covariance more, or give more bits",
          basis[i * n + i], i, bits);
    }
  }
  return reduce(std::move(integers), scale);
}

GramReduction reduce_gram(const IntegerMatrix& gram) {
  require_size(gram);
  if (gram != transposed(gram)) fail("a Gram matrix that is not symmetric can't be reduced");
  std::optional<GramReduction> result;
  {
    const std::lock_guard lock(fplll_turn());
    result = run_gram_lll<double>(gram);
  }
  if (!gram_fault(gram, *result)) return *std::move(result);
  {
    const std::lock_guard lock(fplll_turn());
    const auto before = fplll::FP_NR<mpfr_t>::set_prec(
        static_cast<unsigned>(safe_precision(gram.rows(), bit_width(gram))));
    result = run_gram_lll<mpfr_t>(gram);
    fplll::FP_NR<mpfr_t>::set_prec(before);
  }
  if (const auto what = gram_fault(gram, *result)) refuse(*what);
  return *std::move(result);
}

}  // namespace cllm::lattice
