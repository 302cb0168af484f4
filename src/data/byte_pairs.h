#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace cllm::data {

/// Two tokens that become one. Of a list, earlier ones go first.
struct Merge {
  std::uint32_t left = 0, right = 0, result = 0;
};

/// The merges of a byte-pair encoding (Sennrich, Haddow and Birch: "Neural Machine Translation of
/// Rare Words with Subword Units", ACL 2016) over bytes. Immutable and thread-safe.
class BytePairs {
 public:
  BytePairs() = default;
  /// `bytes` are the tokens of single bytes. No pair may occur twice.
  BytePairs(const std::array<std::uint32_t, 256>& bytes, const std::vector<Merge>& merges);

  /// Appends the tokens of a word: of the pairs in it, the one that is first in the list, and of
  /// those the leftmost, becomes one token, until there is none. O(n log n) of n bytes.
  void encode(std::string_view word, std::vector<std::uint32_t>& out) const;

 private:
  struct Slot {
    std::uint64_t pair = kNoPair;
    std::uint32_t rank = 0, result = 0;
  };
  static constexpr std::uint64_t kNoPair = ~std::uint64_t{0};

  const Slot* find(std::uint32_t left, std::uint32_t right) const;
  void encode_short(std::string_view word, std::vector<std::uint32_t>& out) const;
  void encode_long(std::string_view word, std::vector<std::uint32_t>& out) const;

  std::array<std::uint32_t, 256> bytes_{};
  std::vector<Slot> slots_;  // hashed, open addressing; a power of two, at most half full
};

/// Tokens of words met before, each word where its hash says, the newest of two: words repeat, so
/// most need no merging. 4 MiB. One thread at a time.
class WordCache {
 public:
  WordCache();

  /// Appends the tokens of `word`, which `encode(word, out)` appends where they are not known.
  template <typename Encode>
  void encode(std::string_view word, std::vector<std::uint32_t>& out, const Encode& encode_word) {
    Entry& entry = entry_of(word);
    if (entry.holds(word)) {
      out.insert(out.end(), entry.tokens.begin(), entry.tokens.begin() + entry.count);
      return;
    }
    const std::size_t before = out.size();
    encode_word(word, out);
    entry.set(word, out.data() + before, out.size() - before);
  }

 private:
  struct alignas(64) Entry {  // a cache line
    std::uint8_t length = 0, count = 0;
    std::array<char, 30> word;
    std::array<std::uint32_t, 8> tokens;

    bool holds(std::string_view other) const {
      return !other.empty() && std::string_view(word.data(), length) == other;
    }
    /// Words that are too long, or have too many tokens, aren't kept.
    void set(std::string_view new_word, const std::uint32_t* new_tokens, std::size_t new_count);
  };

  Entry& entry_of(std::string_view word);

  std::vector<Entry> entries_;
};

}  // namespace cllm::data
