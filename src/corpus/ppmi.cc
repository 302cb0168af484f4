#include "cllm/corpus/ppmi.h"

#include "cllm/base/elementary.h"
#include "cllm/base/error.h"

namespace cllm::corpus {

Ppmi::Ppmi(std::span<const std::uint64_t> totals, double smoothing) {
  if (!(smoothing >= 0 && smoothing <= 1)) {
    fail("contexts cannot be smoothed by the power {}; give 0 to 1", smoothing);
  }
  double sum = 0;
  for (const std::uint64_t total : totals) {
    if (total > 0) sum += power(static_cast<double>(total), smoothing);
  }
  const double log_sum = logarithm(sum);
  for (const std::uint64_t total : totals) {
    // A token without neighbours is in no pair, and its terms are never read.
    const double log_total = logarithm(static_cast<double>(total));
    row_terms_.push_back(log_sum - log_total);
    context_terms_.push_back(smoothing * log_total);
  }
}

}  // namespace cllm::corpus
