#include "cllm/plan/token_rows.h"

#include <cmath>

#include "cllm/model/gradient.h"

namespace cllm::plan {

TokenRows expected_token_rows(const model::Layout& layout, std::size_t batch_tokens,
                              Frequencies frequencies) {
  TokenRows expected;
  if (!layout.trains_table()) return expected;
  const std::size_t vocabulary = layout.config().vocabulary;
  const auto weight = [&](std::size_t row) {
    return frequencies == Frequencies::kZipf ? 1 / static_cast<double>(row + 1) : 1.0;
  };
  double all = 0;
  for (std::size_t row = 0; row < vocabulary; ++row) all += weight(row);
  for (const model::TableBand& band : layout.embedding()) {
    double tokens = 0;
    for (std::size_t row = band.first_row; row < band.first_row + band.rows; ++row) {
      // One less the probability that none of the inputs is this token.
      tokens -= std::expm1(static_cast<double>(batch_tokens) * std::log1p(-weight(row) / all));
    }
    const model::Tensor& table = layout[band.tensor];
    expected.tokens += tokens;
    expected.elements += tokens * static_cast<double>(table.columns);
    expected.rows += tokens * static_cast<double>(model::tiles_across(table));
  }
  return expected;
}

}  // namespace cllm::plan
