#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "cllm/corpus/signatures.h"

namespace cllm::corpus {

/// How many relatives a rare token's row is made of.
inline constexpr std::size_t kRelativesOfRareToken = 64;

/// How many tokens were too rare, and how many of them got a row from their relatives.
struct RareTokens {
  std::size_t rare = 0;
  std::size_t started = 0;

  bool operator==(const RareTokens&) const = default;
};

/// Gives rows to tokens that are too rare for statistics of their own: the row of a token with
/// counts[t] < threshold becomes the mean of those of its most similar frequent relatives
/// (kRelativesOfRareToken of them at most, by `Signatures::similarity`, which is also their
/// weight), scaled to the root mean square norm of the frequent tokens' rows. One without relatives
/// keeps its row, and so do frequent tokens.
///
/// table (at least V, columns); counts (V), of the training part; V = signatures.size(). The same
/// bits for any number of threads. Throws Error where OpenMP has not so many, and std::bad_alloc.
RareTokens start_rare_tokens(std::span<float> table, std::size_t columns,
                             std::span<const std::uint64_t> counts, const Signatures& signatures,
                             std::uint64_t threshold, int threads);

}  // namespace cllm::corpus
