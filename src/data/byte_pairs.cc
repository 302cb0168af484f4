#include "byte_pairs.h"

#define XXH_INLINE_ALL  // a word is short: a call would cost as much as its hash
#include <xxhash.h>

#include <algorithm>
#include <bit>
#include <queue>
#include <tuple>

namespace cllm::data {
namespace {

constexpr std::size_t kEntries = std::size_t{1} << 16;
/// Looking at all pairs anew after each merge is quicker than a heap for words of this length.
constexpr std::size_t kShort = 32;

std::uint64_t key_of(std::uint32_t left, std::uint32_t right) {
  return std::uint64_t{left} << 32 | right;
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
std::uint64_t mix(std::uint64_t x) {
  x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
  x = (x ^ x >> 27) * 0x94D049BB133111EBu;
  return x ^ x >> 31;
}

}  // namespace

BytePairs::BytePairs(const std::array<std::uint32_t, 256>& bytes, const std::vector<Merge>& merges)
    : bytes_(bytes), slots_(std::bit_ceil(2 * merges.size() + 1)) {
  for (std::size_t rank = 0; rank < merges.size(); ++rank) {
    const std::uint64_t key = key_of(merges[rank].left, merges[rank].right);
    std::size_t at = mix(key) & (slots_.size() - 1);
    while (slots_[at].pair != kNoPair) at = (at + 1) & (slots_.size() - 1);
    slots_[at] = {key, static_cast<std::uint32_t>(rank), merges[rank].result};
  }
}

const BytePairs::Slot* BytePairs::find(std::uint32_t left, std::uint32_t right) const {
  const std::uint64_t key = key_of(left, right);
  for (std::size_t at = mix(key);; ++at) {
    const Slot& slot = slots_[at & (slots_.size() - 1)];
    if (slot.pair == key) return &slot;
    if (slot.pair == kNoPair) return nullptr;
  }
}

void BytePairs::encode(std::string_view word, std::vector<std::uint32_t>& out) const {
  word.size() <= kShort ? encode_short(word, out) : encode_long(word, out);
}

void BytePairs::encode_short(std::string_view word, std::vector<std::uint32_t>& out) const {
  std::array<std::uint32_t, kShort> tokens;
  std::array<const Slot*, kShort> pairs{};  // of token i with the next; null: no merge
  std::size_t count = word.size();
  for (std::size_t i = 0; i < count; ++i) tokens[i] = bytes_[static_cast<unsigned char>(word[i])];
  const auto look_up = [&](std::size_t i) {
    pairs[i] = i + 1 < count ? find(tokens[i], tokens[i + 1]) : nullptr;
  };
  for (std::size_t i = 0; i < count; ++i) look_up(i);
  while (true) {
    const Slot* best = nullptr;
    std::size_t place = 0;
    for (std::size_t i = 0; i + 1 < count; ++i) {
      if (pairs[i] == nullptr || (best != nullptr && best->rank <= pairs[i]->rank)) continue;
      best = pairs[i];
      place = i;
    }
    if (best == nullptr) break;
    tokens[place] = best->result;
    --count;
    std::copy(tokens.begin() + place + 2, tokens.begin() + count + 1, tokens.begin() + place + 1);
    std::copy(pairs.begin() + place + 2, pairs.begin() + count + 1, pairs.begin() + place + 1);
    look_up(place);
    if (place > 0) look_up(place - 1);
  }
  out.insert(out.end(), tokens.begin(), tokens.begin() + count);
}

void BytePairs::encode_long(std::string_view word, std::vector<std::uint32_t>& out) const {
  constexpr std::size_t kNone = ~std::size_t{0};
  struct Symbol {
    std::uint32_t token;
    bool is_gone;
    std::size_t last, next;
  };
  std::vector<Symbol> symbols(word.size());
  for (std::size_t i = 0; i < word.size(); ++i) {
    symbols[i] = {bytes_[static_cast<unsigned char>(word[i])], false, i == 0 ? kNone : i - 1,
                  i + 1 == word.size() ? kNone : i + 1};
  }
  // Of merges that are possible, the first in the list and then the leftmost. Some are out of date
  // when their turn comes, because one of their tokens was merged before.
  using Candidate = std::tuple<std::uint32_t, std::size_t, std::uint64_t, std::uint32_t>;
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue;
  const auto propose = [&](std::size_t left) {
    if (left == kNone || symbols[left].next == kNone) return;
    const Slot* slot = find(symbols[left].token, symbols[symbols[left].next].token);
    if (slot != nullptr) queue.emplace(slot->rank, left, slot->pair, slot->result);
  };
  for (std::size_t i = 0; i < symbols.size(); ++i) propose(i);
  while (!queue.empty()) {
    const auto [rank, at, pair, result] = queue.top();
    queue.pop();
    Symbol& left = symbols[at];
    if (left.is_gone || left.next == kNone) continue;
    Symbol& right = symbols[left.next];
    if (key_of(left.token, right.token) != pair) continue;
    left.token = result;
    right.is_gone = true;
    left.next = right.next;
    if (left.next != kNone) symbols[left.next].last = at;
    propose(left.last);
    propose(at);
  }
  for (std::size_t i = 0; i != kNone; i = symbols[i].next) out.push_back(symbols[i].token);
}

WordCache::WordCache() : entries_(kEntries) {}

WordCache::Entry& WordCache::entry_of(std::string_view word) {
  return entries_[XXH3_64bits(word.data(), word.size()) % kEntries];
}

void WordCache::Entry::set(std::string_view new_word, const std::uint32_t* new_tokens,
                           std::size_t new_count) {
  if (new_word.size() > word.size() || new_count > tokens.size()) return;
  length = static_cast<std::uint8_t>(new_word.size());
  count = static_cast<std::uint8_t>(new_count);
  std::ranges::copy(new_word, word.begin());
  std::copy_n(new_tokens, new_count, tokens.begin());
}

}  // namespace cllm::data
