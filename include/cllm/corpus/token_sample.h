#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "cllm/data/token_file.h"

namespace cllm::corpus {

/// Stretches of a corpus, all of one length and evenly spaced from its first token to its last; or
/// the whole corpus, which is one stretch. The places of their tokens are numbered without gaps.
/// A view: the tokens must outlive it. Immutable and thread-safe.
class TokenSample {
 public:
  TokenSample() = default;
  /// All tokens. Not explicit: a corpus is the largest sample of itself.
  TokenSample(data::TokenView tokens) : tokens_(tokens), length_(tokens.size()), stretches_(1) {}
  /// At most `most` tokens, most >= 1; where it is a hundred or more, at least nine tenths of it.
  TokenSample(data::TokenView tokens, std::uint64_t most);

  std::size_t size() const { return stretches_ * length_; }
  /// Tokens of the whole corpus.
  std::size_t corpus_size() const { return tokens_.size(); }
  /// size / corpus_size; 1 for an empty corpus.
  double share() const;

  std::size_t stretches() const { return stretches_; }
  data::TokenView stretch(std::size_t i) const { return tokens_.subview(start_of(i), length_); }

  /// visit(place, token) for the places [first, end), in order.
  template <typename Visit>
  void for_each(std::size_t first, std::size_t end, const Visit& visit) const {
    while (first < end) {
      const std::size_t offset = first % length_, start = start_of(first / length_);
      const std::size_t count = std::min(end - first, length_ - offset);
      tokens_.for_each(start + offset, start + offset + count,
                       [&](std::size_t at, std::uint32_t token) {
                         visit(first + (at - start - offset), token);
                       });
      first += count;
    }
  }

  /// How many tokens of its stretch stand before and after a place, `window` of each at most.
  struct Around {
    std::size_t before, after;
  };
  /// Copies those, with the token itself between them: before + 1 + after tokens.
  Around around(std::size_t place, std::size_t window, std::uint32_t* out) const {
    const std::size_t offset = place % length_;
    const Around found{std::min(window, offset), std::min(window, length_ - 1 - offset)};
    tokens_.copy(start_of(place / length_) + offset - found.before, found.before + 1 + found.after,
                 out);
    return found;
  }

 private:
  std::size_t start_of(std::size_t stretch) const {
    return stretches_ < 2 ? 0 : (tokens_.size() - length_) * stretch / (stretches_ - 1);
  }

  data::TokenView tokens_;
  std::size_t length_ = 0;
  std::size_t stretches_ = 0;
};

}  // namespace cllm::corpus
