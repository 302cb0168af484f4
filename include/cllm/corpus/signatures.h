#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "cllm/data/tokenizer.h"
#include "cllm/kernels/kernels.h"

namespace cllm::corpus {

/// Note [Prime signatures]. The features of a token are the n-grams of its characters, n from
/// kShortestGram to kLongestGram, with a mark before its first and one behind its last character
/// that count as characters, as in fastText (Bojanowski, Grave, Joulin and Mikolov: "Enriching Word
/// Vectors with Subword Information", TACL 2017, 3.2). A byte that is part of no UTF-8 character is
/// a character of its own. Features are ranked by how many tokens have them, ties by their bytes,
/// and numbered by primes: the most frequent is 2, the next 3, and so on. A token's signature is
/// the product of its features' primes, each once (a set, so the product is square-free); and
///
///     similarity(a, b) = log gcd(a, b) / log max(a, b),
///
/// which is in [0, 1]: 0 where nothing is shared, 1 where the sets are equal. A rare feature has a
/// large prime, so log p weighs what is shared as inverse frequencies do.
///
/// The products are never formed: those of some ten primes overflow 64 bits, and a token has more.
/// Kept are the sorted ranks of the primes beside their logarithms. That is exact for any number of
/// features; gcd is the intersection of two sorted lists, which compares eight numbers at a time
/// and divides none. Logarithms are integers, in units of 2^-16, so sums are the same in any order
/// and equal sets have a similarity of exactly 1.

/// Longer grams find no better relatives, by the contexts in which tokens of English text stand.
inline constexpr std::size_t kShortestGram = 2;
inline constexpr std::size_t kLongestGram = 3;

/// What a token of more characters has behind these is left out, so that no sum of weights
/// overflows.
inline constexpr std::size_t kMostCharacters = 256;

/// The first `count` primes, ascending.
std::vector<std::uint32_t> first_primes(std::size_t count);

/// Prime signatures of a vocabulary. Immutable and thread-safe.
class Signatures {
 public:
  /// Of the bytes that tokens stand for; one of no bytes has no features. `kernels` must outlive
  /// it.
  Signatures(std::span<const std::string_view> tokens, const kernels::Kernels& kernels);
  /// Of all tokens of a tokenizer.
  Signatures(const data::Tokenizer& tokenizer, const kernels::Kernels& kernels);

  /// The number of tokens, V.
  std::size_t size() const { return totals_.size(); }
  /// The number of different features.
  std::size_t features() const { return features_; }
  /// The ranks of the token's primes, ascending; token < size(), here and below.
  std::span<const std::uint32_t> ranks(std::uint32_t token) const {
    return {ranks_.data() + begins_[token], begins_[token + 1] - begins_[token]};
  }
  /// The logarithms of these primes, and of their product, in units of 2^-16.
  std::span<const std::uint32_t> weights(std::uint32_t token) const {
    return {weights_.data() + begins_[token], begins_[token + 1] - begins_[token]};
  }
  std::uint32_t weight(std::uint32_t token) const { return totals_[token]; }

  /// Of two tokens; see above. 0 where one has no features.
  float similarity(std::uint32_t a, std::uint32_t b) const;
  /// The same from the logarithm of the gcd.
  float similarity(std::uint32_t a, std::uint32_t b, std::uint32_t shared) const;

 private:
  const kernels::Kernels* kernels_;
  std::size_t features_ = 0;
  std::vector<std::size_t> begins_;     // (V + 1): where each token's features begin
  std::vector<std::uint32_t> ranks_;    // of all tokens, one after the other
  std::vector<std::uint32_t> weights_;  // of these ranks
  std::vector<std::uint32_t> totals_;   // (V)
};

/// A token that shares features with another.
struct Relative {
  std::uint32_t token;
  float similarity;  ///< above 0

  bool operator==(const Relative&) const = default;
};

/// Which tokens have a feature, so that one token is compared with all that share something with
/// it, and with no other. Immutable and thread-safe for distinct scratches.
class RelativeIndex {
 public:
  /// Of the tokens for which `is_listed` says so (V; empty: all). `signatures` must outlive it.
  explicit RelativeIndex(const Signatures& signatures,
                         std::span<const std::uint8_t> is_listed = {});

  /// What a thread needs for itself, allocated once: calls allocate nothing.
  class Scratch {
   public:
    explicit Scratch(const RelativeIndex& index) : shared_(index.signatures_->size()) {
      found_.reserve(shared_.size());
    }

   private:
    friend class RelativeIndex;
    std::vector<std::uint32_t> shared_;  // (V): zero between calls
    std::vector<Relative> found_;
  };

  /// The `most` listed tokens that are most similar to `token`, itself left out, most similar
  /// first, ties by number; fewer where fewer share a feature. Valid until the next call with the
  /// scratch.
  std::span<const Relative> relatives(std::uint32_t token, std::size_t most,
                                      Scratch& scratch) const;

 private:
  const Signatures* signatures_;
  std::vector<std::size_t> begins_;    // (features + 1)
  std::vector<std::uint32_t> tokens_;  // that have each feature, ascending
};

}  // namespace cllm::corpus
