#include "reducedness.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

// Note [Enclosure]
//
// G = R Rᵀ is known exactly; wanted are bounds of its Cholesky factor L, whose rows hold the
// Gram-Schmidt process: L(j, j) = |b*_j|, L(i, j) = mu(i, j) |b*_j|. Let A be a lower-triangular
// matrix of floating-point numbers with a positive diagonal: what Cholesky's method gives, but
// nothing about it is assumed. u is the unit roundoff, r_i >= |row i of A| and |b_i|.
//
// 1. Residual. |G - A Aᵀ|(i, j) <= c r_i r_j, where c is the largest computed residual over
//    r_i r_j, and 2 (n+4) u for the rounding errors of computing it (Higham, "Accuracy and
//    Stability of Numerical Algorithms", 2nd ed., §3.1, with Cauchy-Schwarz).
// 2. Inverse. X is about A^-1 and F = X A - I, bounded in the maximum norm by f < 1/1000, rounding
//    errors included. A^-1 = (I + F)^-1 X, so |A^-1| r <= w, if w_i = (|X| r)_i + 2 f max |X| r.
// 3. E = A^-1 (G - A Aᵀ) A^-T: |E|(i, j) <= c w_i w_j, and in the Frobenius norm |E| <= e = c
// |w|^2.
//    G = A (I + E) Aᵀ, so L = A (I + D) where I + D is the Cholesky factor of I + E.
// 4. E = D + Dᵀ + D Dᵀ and |D + Dᵀ|^2 >= 2 |D|^2, so √2 |D| <= |E| + |D|^2. D goes to 0 with E, so
//    |D| <= √2 e / (1 + √(1 - 2e)) <= e for e < 1/10 (Drmač, Omladič and Veselić, "On the
//    Perturbation of the Cholesky Factorization", SIAM J. Matrix Anal. Appl. 15(4), 1994). With
//    that for the product, |D|(k, j) <= c w_k w_j + e^2.
// 5. |L - A|(i, j) <= sum over k from j to i of |A|(i, k) (c w_k w_j + e^2).
//
// Each bound is a sum and product of at most some thousand numbers that are not negative, so that
// computing it loses far less than the 1 % by which it is then raised; the same covers underflow,
// because r_i and w_i are at least 1. NaN and infinity fail every comparison that proves something.
// What can't be decided in double is tried again with more digits.
namespace cllm::lattice {
namespace {

/// By how much bounds are raised.
constexpr double kRaise = 1.01;

/// What is tried where double can't decide.
#ifdef __SIZEOF_FLOAT128__
using Precise = __float128;
#else
using Precise = long double;  // has as many digits where there is no __float128
#endif

/// u, the unit roundoff.
template <typename Real>
constexpr Real kRoundoff = std::numeric_limits<double>::epsilon() / 2;
template <>
constexpr Precise kRoundoff<Precise> = 0x1p-113L;

template <typename Real>
Real magnitude(Real x) {
  return x < 0 ? -x : x;
}

/// NaN where either is.
template <typename Real>
Real larger(Real a, Real b) {
  return b > a || b != b ? b : a;
}

double square_root(double x) { return std::sqrt(x); }

/// Accurate to a few u, by a step of Newton's method.
Precise square_root(Precise x) {
  const Precise root = std::sqrt(static_cast<long double>(x));
  return root > 0 ? (root + x / root) / 2 : root;
}

/// Row-major and lower-triangular, with its own storage for each whole row.
template <typename Real>
class Triangle {
 public:
  explicit Triangle(std::size_t n) : n_(n), values_(n * n) {}
  std::size_t size() const { return n_; }
  Real* row(std::size_t i) { return &values_[i * n_]; }
  const Real* row(std::size_t i) const { return &values_[i * n_]; }

 private:
  std::size_t n_;
  std::vector<Real> values_;
};

/// A = Cholesky's factor. False where a pivot is not positive.
template <typename Real>
bool factor(const WideMatrix& gram, Triangle<Real>& a) {
  for (std::size_t i = 0; i < a.size(); ++i) {
    Real* const row = a.row(i);
    for (std::size_t j = 0; j <= i; ++j) {
      const Real* const other = a.row(j);
      auto sum = static_cast<Real>(gram.row(i)[j]);
      for (std::size_t k = 0; k < j; ++k) sum -= row[k] * other[k];
      if (j < i) {
        row[j] = sum / other[j];
      } else if (sum > 0) {
        row[j] = square_root(sum);
      } else {
        return false;
      }
    }
  }
  return true;
}

/// row -= factor other, of `length` elements.
template <typename Real>
void subtract(Real* row, Real factor, const Real* other, std::size_t length) {
  for (std::size_t j = 0; j < length; ++j) row[j] -= factor * other[j];
}

/// X = about A^-1, by forward substitution.
template <typename Real>
Triangle<Real> inverse_of(const Triangle<Real>& a) {
  Triangle<Real> x(a.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    Real* const row = x.row(i);
    row[i] = 1;
    for (std::size_t k = 0; k < i; ++k) subtract(row, a.row(i)[k], x.row(k), k + 1);
    for (std::size_t j = 0; j <= i; ++j) row[j] /= a.row(i)[i];
  }
  return x;
}

/// A of Note [Enclosure] and `bound` (i, j) >= |L - A| (i, j). False where there is none at this
/// precision.
template <typename Real>
bool enclose(const WideMatrix& gram, Triangle<Real>& a, Triangle<Real>& bound) {
  const std::size_t n = a.size();
  if (!factor(gram, a)) return false;
  const Real rounding = kRaise * static_cast<double>(n + 4) * kRoundoff<Real>;

  std::vector<Real> r(n);
  for (std::size_t i = 0; i < n; ++i) {
    Real squares = 0;
    for (std::size_t j = 0; j <= i; ++j) squares += a.row(i)[j] * a.row(i)[j];
    r[i] = kRaise * square_root(std::max(squares, static_cast<Real>(gram.row(i)[i])));
  }

  Real c = 0;
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t j = 0; j <= i; ++j) {
      auto residual = static_cast<Real>(gram.row(i)[j]);
      for (std::size_t k = 0; k <= j; ++k) residual -= a.row(i)[k] * a.row(j)[k];
      c = larger(c, magnitude(residual) / (r[i] * r[j]));
    }
  }
  c = kRaise * (c + 2 * rounding);

  const Triangle<Real> x = inverse_of(a);
  std::vector<Real> w(n);
  std::vector<Real> product(n);
  Real f = 0;
  Real w_most = 0;
  for (std::size_t i = 0; i < n; ++i) {
    std::ranges::fill(product, Real{0});
    product[i] = -1;
    for (std::size_t k = 0; k <= i; ++k) {
      w[i] += magnitude(x.row(i)[k]) * r[k];
      subtract(product.data(), -x.row(i)[k], a.row(k), k + 1);
    }
    // The rounding errors of an element are below (n+4) u times a sum that is below w_i + 1.
    Real sum = static_cast<double>(n) * rounding * (w[i] + 1);
    for (std::size_t j = 0; j <= i; ++j) sum += magnitude(product[j]);
    f = larger(f, sum);
    w_most = larger(w_most, w[i]);
  }
  if (!(kRaise * f < 1e-3)) return false;
  Real e = 0;
  for (Real& each : w) {
    each = kRaise * (each + 2 * f * w_most);
    e += each * each;
  }
  e *= kRaise * c;
  if (!(e < 0.1)) return false;

  for (std::size_t i = 0; i < n; ++i) {
    Real weighted = 0;
    Real plain = 0;
    for (std::size_t j = i + 1; j-- > 0;) {
      const Real size = magnitude(a.row(i)[j]);
      weighted += size * w[j];
      plain += size;
      bound.row(i)[j] = kRaise * (weighted * c * w[j] + plain * e * e);
    }
  }
  return true;
}

// --- The conditions ------------------------------------------------------------------------------

enum class Verdict { kHolds, kFails, kOpen };

struct Finding {
  Verdict verdict;
  std::string what;  ///< where it does not hold
};

/// More than what computing a side of an inequality below can lose.
template <typename Real>
constexpr Real kSlack = 16 * kRoundoff<Real>;

/// Whether all of [least, most] is at most all of [other_least, other_most].
template <typename Real>
Verdict at_most(Real least, Real most, Real other_least, Real other_most) {
  if (most * (1 + kSlack<Real>) <= other_least) return Verdict::kHolds;
  return least > other_most * (1 + kSlack<Real>) ? Verdict::kFails : Verdict::kOpen;
}

template <typename Real>
Finding reduced_at(const WideMatrix& gram, double delta, double eta) {
  const std::size_t n = gram.columns;
  Triangle<Real> a(n);
  Triangle<Real> bound(n);
  if (!enclose(gram, a, bound)) {
    return {
        Verdict::kOpen,
        "whether the reduced basis is linearly independent and reduced can't be proved, because "
        "it is too ill-conditioned"};
  }
  const auto least = [&](std::size_t i, std::size_t j) {
    return std::max(Real{0}, magnitude(a.row(i)[j]) - bound.row(i)[j]);
  };
  const auto most = [&](std::size_t i, std::size_t j) {
    return magnitude(a.row(i)[j]) + bound.row(i)[j];
  };
  const auto verdict_of = [](Verdict verdict) {
    return verdict == Verdict::kFails ? "is" : "can't be proved not to be";
  };
  Finding open{Verdict::kHolds, {}};
  // A condition that fails is worth more than an earlier one that is open.
  const auto note = [&](Verdict verdict, std::string what) {
    if (verdict == Verdict::kFails || open.verdict == Verdict::kHolds) {
      open = {verdict, std::move(what)};
    }
    return verdict == Verdict::kFails;
  };
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      const Verdict verdict =
          at_most<Real>(least(i, j), most(i, j), eta * least(j, j), eta * most(j, j));
      if (verdict == Verdict::kHolds) continue;
      if (note(verdict,
               fmt::format("the reduced basis is not size-reduced: |mu({}, {})| = {:.6g} {} "
                           "above eta = {}",
                           i, j, static_cast<double>(magnitude(a.row(i)[j]) / a.row(j)[j]),
                           verdict_of(verdict), eta))) {
        return open;
      }
    }
    if (i == 0) continue;
    const auto square = [](Real x) { return x * x; };
    const std::size_t h = i - 1;
    const Verdict verdict = at_most<Real>(delta * square(least(h, h)), delta * square(most(h, h)),
                                          square(least(i, i)) + square(least(i, h)),
                                          square(most(i, i)) + square(most(i, h)));
    if (verdict == Verdict::kHolds) continue;
    const Real ratio = (square(a.row(i)[i]) + square(a.row(i)[h])) / square(a.row(h)[h]);
    if (note(verdict, fmt::format("Lovász' condition fails at index {}: {:.6g} {} below delta = {}",
                                  i, static_cast<double>(ratio), verdict_of(verdict), delta))) {
      return open;
    }
  }
  return open;
}

}  // namespace

std::optional<std::string> reduced_fault(const WideMatrix& gram, double delta, double eta) {
  for (std::size_t i = 0; i < gram.columns; ++i) {
    if (gram.row(i)[i] <= 0) return fmt::format("vector {} of the reduced basis is 0", i);
  }
  Finding finding = reduced_at<double>(gram, delta, eta);
  if (finding.verdict == Verdict::kOpen) finding = reduced_at<Precise>(gram, delta, eta);
  if (finding.verdict == Verdict::kHolds) return std::nullopt;
  return std::move(finding.what);
}

}  // namespace cllm::lattice
