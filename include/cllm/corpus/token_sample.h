#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "cllm/data/token_file.h"

namespace cllm::corpus {

/// Stretches of a corpus, all of one length and evenly spaced from its first token to its last; or
/// the whole corpus, which is one stretch; or such stretches of several sources, one after the
/// other. The places of their tokens are numbered without gaps. A view: the tokens must outlive it.
/// Immutable and thread-safe.
class TokenSample {
 public:
  TokenSample() = default;
  /// All tokens. Not explicit: a corpus is the largest sample of itself.
  TokenSample(data::TokenView tokens)
      : runs_{{tokens, 0, 1}}, length_(tokens.size()), stretches_(1) {}
  /// At most `most` tokens, most >= 1; where it is a hundred or more, at least nine tenths of it.
  TokenSample(data::TokenView tokens, std::uint64_t most);

  /// A corpus that is mixed with others, and its share of the mixture.
  struct Source {
    data::TokenView tokens;
    double share;
  };
  /// About `most` tokens, most >= 1, of each source its share of them, or all that it has. Of one
  /// source, the sample of it alone.
  TokenSample(const std::vector<Source>& sources, std::uint64_t most);

  std::size_t size() const { return stretches_ * length_; }
  /// Tokens of the whole corpus.
  std::size_t corpus_size() const;
  /// size / corpus_size; 1 for an empty corpus.
  double share() const;

  std::size_t stretches() const { return stretches_; }
  data::TokenView stretch(std::size_t i) const {
    const Run& run = run_of(i);
    return run.tokens.subview(start_of(run, i), length_);
  }

  /// visit(place, token) for the places [first, end), in order.
  template <typename Visit>
  void for_each(std::size_t first, std::size_t end, const Visit& visit) const {
    while (first < end) {
      const std::size_t offset = first % length_, stretch = first / length_;
      const Run& run = run_of(stretch);
      const std::size_t start = start_of(run, stretch);
      const std::size_t count = std::min(end - first, length_ - offset);
      run.tokens.for_each(start + offset, start + offset + count,
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
    const Run& run = run_of(place / length_);
    run.tokens.copy(start_of(run, place / length_) + offset - found.before,
                    found.before + 1 + found.after, out);
    return found;
  }

 private:
  /// The stretches of one source.
  struct Run {
    data::TokenView tokens;
    std::size_t first;      ///< stretch
    std::size_t stretches;  ///< of it
  };

  const Run& run_of(std::size_t stretch) const {
    std::size_t i = 0;  // there are few sources
    while (i + 1 < runs_.size() && stretch >= runs_[i + 1].first) ++i;
    return runs_[i];
  }
  std::size_t start_of(const Run& run, std::size_t stretch) const {
    if (run.stretches < 2) return 0;
    return (run.tokens.size() - length_) * (stretch - run.first) / (run.stretches - 1);
  }

  std::vector<Run> runs_;
  std::size_t length_ = 0;
  std::size_t stretches_ = 0;
};

}  // namespace cllm::corpus
