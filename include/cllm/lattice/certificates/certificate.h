#pragma once

#include <cstddef>
#include <optional>
#include <string>

#include "cllm/lattice/integer_matrix.h"

namespace cllm::lattice {

/// What every reduction is proved to reach: |mu(i, j)| <= kEta, and Lovász' condition at kDelta.
/// eta is above 1/2 because a reduction in floating point cannot end exactly at it (Nguyen and
/// Stehlé, "An LLL Algorithm with Quadratic Complexity", SIAM J. Comput. 39(3), 2009).
inline constexpr double kDelta = 0.99;
inline constexpr double kEta = 0.51;

/// Integers of a certificate must have at most this many binary digits, and bases at most so many
/// vectors and columns, so that no sum of products leaves 128 bits: 2 * 56 + 11 < 127.
inline constexpr int kMostBits = 56;
inline constexpr std::size_t kMostVectors = 2048;

/// An LLL-reduced basis with all that it takes to check it. The letters are those of the field:
/// reduced R = U before, before = V R, V = U^-1 in integers.
struct Certificate {
  IntegerMatrix before;     ///< (n, m), the basis that was given
  IntegerMatrix transform;  ///< (n, n), U
  IntegerMatrix inverse;    ///< (n, n), V
  IntegerMatrix reduced;    ///< (n, m), R
  double delta = kDelta;    ///< of Lovász' condition, in [kDelta, 1]
  double eta = kEta;        ///< of the size reduction, in [1/2, kEta]
  double scale = 1;         ///< an integer of `before` is a real number times this; above 0

  friend bool operator==(const Certificate&, const Certificate&) = default;
};

/// Proves that the certificate holds, or says in one sentence what is wrong with it or, where the
/// basis is so ill-conditioned that it can't be decided, what can't be proved:
/// - shapes and sizes fit; delta, eta and scale are in their ranges;
/// - U V = I, so |det U| = 1 (a product of two integers that is 1); and det U = ±1 modulo a
///   prime, by elimination that does not see V;
/// - R = U before, so both generate the same lattice;
/// - with b*_i the Gram-Schmidt vectors and mu(i, j) the coefficients of R:
///   |mu(i, j)| <= eta for j < i, and |b*_i|^2 >= (delta - mu(i, i-1)^2) |b*_{i-1}|^2.
///
/// Products are taken in 128-bit integers that cannot overflow. The Gram-Schmidt process is done in
/// floating point with an enclosure of its error (Note [Enclosure] in
/// src/lattice/certificates/reducedness.cc), so that "holds" is a proof; it is tried in double,
/// then in quadruple precision. Nothing in the certificate is trusted, and no code is shared with
/// the reducer. Thread-safe.
std::optional<std::string> fault(const Certificate& certificate);

/// A reduction where only inner products are known.
struct GramReduction {
  IntegerMatrix gram;       ///< (n, n), U before Uᵀ
  IntegerMatrix transform;  ///< (n, n), U
  IntegerMatrix inverse;    ///< (n, n), V = U^-1
};

/// The same of a reduction of the Gram matrix `before` (n, n), at kDelta and kEta.
std::optional<std::string> gram_fault(const IntegerMatrix& before, const GramReduction& reduction);

/// Throws Error "`name`: …" where there is a fault; `name` says where the certificate comes from.
void check(const Certificate& certificate, const std::string& name);

}  // namespace cllm::lattice
