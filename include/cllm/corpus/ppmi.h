#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace cllm::corpus {

/// Positive pointwise mutual information with smoothed contexts (Levy, Goldberg, Dagan: "Improving
/// Distributional Similarity with Lessons Learned from Word Embeddings", TACL 3, 2015, 3.1):
///
///   M_ij = max(0, log(n_ij Σ_k s_k^α / (s_i s_j^α))),   s_i = Σ_j n_ij.
///
/// It is not symmetric, unless α = 1. Immutable and thread-safe.
class Ppmi {
 public:
  /// `totals` are the s_i, `smoothing` is α. Throws Error unless 0 <= α <= 1.
  Ppmi(std::span<const std::uint64_t> totals, double smoothing);

  /// M_ij of a row i and a context j from log(n_ij), n_ij > 0. Computed in double and rounded once;
  /// 0 for what is no more than the rounding of logarithms.
  float operator()(std::size_t row, std::size_t context, double log_count) const {
    const double information = (log_count + row_terms_[row]) - context_terms_[context];
    return information > kRounding ? static_cast<float>(information) : 0.0f;
  }

 private:
  // A sum of terms below 2^6 that are rounded to 2^-47, and so is what a token says of itself.
  static constexpr double kRounding = 0x1p-40;

  std::vector<double> row_terms_;      // log(Σ_k s_k^α / s_i)
  std::vector<double> context_terms_;  // log(s_j^α)
};

}  // namespace cllm::corpus
