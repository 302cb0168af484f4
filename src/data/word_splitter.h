#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

namespace cllm::data {

/// Note [Split patterns]. Byte-level BPE merges within words, and what a word is says a regular
/// expression that comes with the vocabulary. These are known, each as the code of one function:
///
///   gpt2    's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
///   llama3  (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|
///           ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+      (a space before the second
///           line)
///   qwen2   as llama3, with \p{N} in place of \p{N}{1,3}
///
/// Each word begins where the last one ended, and every character is in one.
enum class SplitPattern { kGpt2, kLlama3, kQwen2 };

/// The pattern that a tokenizer.json spells so; none where it is not known.
std::optional<SplitPattern> find_split_pattern(std::string_view regular_expression);
std::string_view regular_expression(SplitPattern pattern);

/// What comes before the pattern: numbers are cut out, each by itself or in runs.
enum class DigitSplit { kNone, kRuns, kSingle };

/// Cuts text into words. Immutable and thread-safe.
class WordSplitter {
 public:
  WordSplitter() = default;
  WordSplitter(SplitPattern pattern, DigitSplit digits) : pattern_(pattern), digits_(digits) {}

  SplitPattern pattern() const { return pattern_; }
  DigitSplit digits() const { return digits_; }

  /// visit(word) for the words of well-formed UTF-8, in order.
  template <typename Visit>
  void for_each_word(std::string_view text, const Visit& visit) const {
    while (!text.empty()) {
      std::string_view part = text.substr(0, part_length(text));
      text.remove_prefix(part.size());
      while (!part.empty()) {
        const std::size_t length = word_length(part);
        visit(part.substr(0, length));
        part.remove_prefix(length);
      }
    }
  }

 private:
  std::size_t part_length(std::string_view text) const;
  std::size_t word_length(std::string_view part) const;

  SplitPattern pattern_ = SplitPattern::kGpt2;
  DigitSplit digits_ = DigitSplit::kNone;
};

/// Note [Cuts]. Whether the words of `text` are those of its first `at` bytes and those of the
/// rest, by every pattern: before a space that follows something else than white space, or behind a
/// newline that stands between two characters that are none. No pattern has a match across either,
/// and none looks further than the white space behind a word, so neither side misses the other. As
/// nothing composes with a space or a newline, normalisation form C may be made of both sides
/// apart. Bytes that are no UTF-8 are words of their own.
bool can_cut(std::string_view text, std::size_t at);

}  // namespace cllm::data
