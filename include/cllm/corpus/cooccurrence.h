#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "cllm/base/thread_pool.h"
#include "cllm/corpus/token_sample.h"

/// Note [Co-occurrence]
///
/// n_ij is the number of times that tokens i and j stand at most `window` tokens apart, on either
/// side, each time weighted by 1/distance (as in GloVe: Pennington, Socher, Manning, EMNLP 2014).
/// Weights are integers, lcm(1..window)/distance, so that sums are exact and the same in any order.
/// The matrix is symmetric.
///
/// Pairs are not collected and sorted. The positions of each token are, once; a row is then the sum
/// over its token's positions of what stands around them, in an array of V counts that stays in a
/// cache. Each row needs the tokens alone, so rows may be dealt to ranks and threads at will, and
/// no counts are ever sent. The sum of a row follows from how often its token occurs, and from what
/// the two ends of each stretch of the corpus lack.
namespace cllm::corpus {

/// The longest window; with it, a corpus of 2^40 tokens can't overflow 64 bits.
inline constexpr int kLongestWindow = 16;

/// The integer weights of a window. Immutable.
class WindowWeights {
 public:
  /// Throws Error unless 1 <= window <= kLongestWindow.
  explicit WindowWeights(int window);

  std::size_t window() const { return weights_.size() - 1; }
  /// lcm(1..window) / distance, for a distance from 1 to the window.
  std::uint64_t operator[](std::size_t distance) const { return weights_[distance]; }

 private:
  std::vector<std::uint64_t> weights_;  // of distance 0, never used, 1, …
};

/// The row sums of the co-occurrence matrix, which are its column sums as well, from the tokens'
/// counts.
std::vector<std::uint64_t> cooccurrence_totals(const TokenSample& tokens,
                                               std::span<const std::uint64_t> token_counts,
                                               const WindowWeights& weights);

/// Tokens of a sample, at most: a place is 4 bytes.
inline constexpr std::uint64_t kMostPlaces = 4'000'000'000;

/// Where each of some tokens stands. Takes 4 bytes for each place. Reading is thread-safe.
class TokenPositions {
 public:
  /// Of the vocabulary's tokens `wanted`, each once, which are its rows in this order. Every token
  /// of `tokens` is below `vocabulary`; there are at most kMostPlaces.
  TokenPositions(const TokenSample& tokens, std::size_t vocabulary,
                 std::span<const std::uint32_t> wanted, ThreadPool& pool);

  /// Of a row's token, ascending.
  std::span<const std::uint32_t> operator[](std::size_t row) const {
    return std::span(positions_).subspan(starts_[row], starts_[row + 1] - starts_[row]);
  }

  /// Bytes that one takes while it is made; `places` of the tokens that are wanted.
  static std::uint64_t bytes_for(std::uint64_t places, std::uint64_t wanted,
                                 std::uint64_t vocabulary, int threads);

 private:
  std::vector<std::size_t> starts_;
  std::vector<std::uint32_t> positions_;
};

/// Counts rows of the co-occurrence matrix, one after the other. Each thread has its own; it takes
/// about 8 bytes per token of the vocabulary. `tokens` and `weights` must outlive it.
class RowCounter {
 public:
  RowCounter(const TokenSample& tokens, std::size_t vocabulary, const WindowWeights& weights);

  /// visit(context, count) for every token that occurs around the positions of one token, with
  /// count > 0, contexts ascending.
  template <typename Visit>
  void count(std::span<const std::uint32_t> positions, const Visit& visit) {
    accumulate(positions);
    for (std::size_t word = 0; word < touched_.size(); ++word) {
      for (; touched_[word] != 0; touched_[word] &= touched_[word] - 1) {
        const std::size_t context = 64 * word + lowest_bit(touched_[word]);
        visit(context, counts_[context]);
        counts_[context] = 0;
      }
    }
  }

 private:
  static std::size_t lowest_bit(std::uint64_t word) {
    return static_cast<std::size_t>(std::countr_zero(word));
  }
  void accumulate(std::span<const std::uint32_t> positions);

  TokenSample tokens_;
  const WindowWeights& weights_;
  std::vector<std::uint64_t> counts_;   // all 0 between two rows
  std::vector<std::uint64_t> touched_;  // a bit for each count; all 0 between two rows
};

}  // namespace cllm::corpus
