#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace cllm::data {

/// Where the documents of some tokens begin. A view: the starts must outlive it. Reading is
/// thread-safe, and safe whatever the starts are; only ascending ones make sense.
class Documents {
 public:
  /// Nothing is known.
  Documents() = default;
  /// Of tokens [first, first + count) of a file with these starts, ascending. What lies before the
  /// first start among them is a document too.
  Documents(std::span<const std::uint64_t> starts, std::uint64_t first, std::uint64_t count);

  bool known() const { return count_ > 0; }
  std::uint64_t size() const { return known() ? starts_.size() + 1 : 0; }
  /// The first token of document i <= size(), counted from the first of all; that of document
  /// size() is the number of tokens.
  std::uint64_t start(std::uint64_t i) const;
  /// The document that a token belongs to. O(log size()).
  std::uint64_t of_token(std::uint64_t token) const;

 private:
  std::span<const std::uint64_t> starts_;  // of the second document and those behind it
  std::uint64_t first_ = 0;
  std::uint64_t count_ = 0;
};

/// Which tokens count as targets: a bit for each. A view; reading is thread-safe.
class TokenMask {
 public:
  /// Every token counts.
  TokenMask() = default;
  /// Token i is bit (first + i) % 64 of word (first + i) / 64.
  explicit TokenMask(std::span<const std::uint64_t> words, std::uint64_t first = 0)
      : words_(words), first_(first) {}

  /// Whether it says anything.
  bool empty() const { return words_.empty(); }
  bool operator[](std::uint64_t i) const {
    return words_.empty() || (words_[(first_ + i) / 64] >> ((first_ + i) % 64) & 1) != 0;
  }
  /// How many of tokens [first, end) count.
  std::uint64_t count(std::uint64_t first, std::uint64_t end) const;

 private:
  std::span<const std::uint64_t> words_;
  std::uint64_t first_ = 0;
};

/// What is to be known of tokens beside themselves, made as they are: 8 bytes for each document,
/// and, where some tokens don't count, a bit for each token.
struct TokenMarks {
  std::vector<std::uint64_t> documents;  ///< starts, ascending; empty where nothing is known
  std::vector<std::uint64_t> counted;    ///< words of a TokenMask; empty: all count
  std::uint64_t tokens = 0;              ///< so far
  std::uint64_t counted_bytes = 0;       ///< of the text that counted tokens came from

  /// The next token begins a document.
  void begin_document();
  /// `count` more tokens, made of so many bytes.
  void add(std::uint64_t count, std::uint64_t bytes, bool counts);
};

}  // namespace cllm::data
