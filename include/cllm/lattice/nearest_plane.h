#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace cllm::lattice {

/// Babai's nearest plane (Babai, "On Lovász' lattice reduction and the nearest lattice point
/// problem", Combinatorica 6(1), 1986): for a target t, integers z such that t - z B lies in the
/// box of all vectors whose component along each Gram-Schmidt vector b*_i is at most |b*_i| / 2.
/// Hence |t - z B| <= error_bound(), which is the smaller the better the basis is reduced.
///
/// Note [Coefficients]: targets are given as points t (m), or as real coefficients c (n) in the
/// basis, t = c B. With weights w in the lattice of `reduce_cholesky`, whose reduced basis is U L,
/// the target is w L = (w V) (U L), so c = w V; and the code z stands for the integer row q = z U.
/// Without reduction, basis L and c = w, this is what GPTQ computes (Chen et al., "The Geometry of
/// LLM Quantization: GPTQ as Babai's Nearest Plane Algorithm", arXiv 2507.18553), from the last
/// column to the first.
///
/// Targets are independent of each other, and a target's result does not depend on its neighbours.
/// Halves are rounded to even. Const members are thread-safe.
class NearestPlane {
 public:
  /// `basis` (n, m), its rows linearly independent; m = basis.size() / n. Throws Error where they
  /// are not, or are not finite.
  NearestPlane(std::span<const double> basis, std::size_t vectors);

  std::size_t vectors() const { return vectors_; }
  std::size_t columns() const { return columns_; }

  /// codes (count, n) of targets (count, m). Throws Error where a code would not be below 2^53 in
  /// size, which includes targets that are not finite.
  void decode(std::span<const double> targets, std::span<std::int64_t> codes) const;
  /// The same of targets (count, n) given as coefficients in the basis. Adding an integer to a
  /// coefficient adds it to the code, exactly.
  void decode_coefficients(std::span<const double> coefficients,
                           std::span<std::int64_t> codes) const;

  /// ½ sqrt(sum of |b*_i|^2): no decoded point is farther from its target, but for rounding errors.
  double error_bound() const;
  /// The mean squared error of targets that are uniform over the lattice: 1/12 sum of |b*_i|^2.
  double expected_squared_error() const;

 private:
  std::size_t vectors_;
  std::size_t columns_;
  /// (n): |b*_i|^2.
  std::vector<double> squared_lengths_;
  /// (n, n), row i: mu(k, i) at k > i, else 0.
  std::vector<double> mu_transposed_;
  /// (n, m): b*_i / |b*_i|^2, whose product with a point is the point's coefficient of b*_i.
  std::vector<double> projections_;
};

}  // namespace cllm::lattice
