#pragma once

#include <cstddef>

#include "cllm/model/layout.h"

namespace cllm::plan {

/// How often tokens occur.
enum class Frequencies {
  kZipf,     ///< the k-th most frequent one 1/k as often as the first, as in text
  kUniform,  ///< all alike, as the random tokens of bench and doctor
};

/// What the token rows of a batch (Note [Token rows] in gradient_accumulator.h) are expected to
/// have.
struct TokenRows {
  double tokens = 0;    ///< distinct ones
  double elements = 0;  ///< of their rows
  double rows = 0;      ///< rows of tiles
};

/// Of `batch_tokens` inputs, which are drawn by these frequencies. Rows of the vocabulary are in
/// the order of frequency.
TokenRows expected_token_rows(const model::Layout& layout, std::size_t batch_tokens,
                              Frequencies frequencies);

}  // namespace cllm::plan
