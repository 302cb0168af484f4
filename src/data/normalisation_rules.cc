#include "normalisation_rules.h"

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

namespace cllm::data {
namespace {

static_assert(std::endian::native == std::endian::little, "SentencePiece's maps are little-endian");

constexpr std::uint32_t kIsText = 1u << 31;
constexpr std::uint32_t kLabels = 256;
/// Normalizer::kMaxTrieResultsSize.
constexpr unsigned kMostRules = 32;

std::uint32_t offset_of(std::uint32_t unit) { return unit >> 10 << ((unit & 1u << 9) >> 6); }
bool ends_rule(std::uint32_t unit) { return (unit & 1u << 8) != 0; }
std::uint32_t label_of(std::uint32_t unit) { return unit & (kIsText | (kLabels - 1)); }

struct Node {
  std::uint32_t unit;
  unsigned rules;  // that end on the way to it
};

}  // namespace

bool are_sound_rules(std::string_view map) {
  std::uint32_t trie_bytes = 0;
  if (map.size() < sizeof(trie_bytes)) return false;
  std::memcpy(&trie_bytes, map.data(), sizeof(trie_bytes));
  map.remove_prefix(sizeof(trie_bytes));
  const bool has_units = trie_bytes > 0 && trie_bytes % sizeof(std::uint32_t) == 0;
  if (!has_units || trie_bytes >= map.size()) return false;
  std::vector<std::uint32_t> units(trie_bytes / sizeof(std::uint32_t));
  std::memcpy(units.data(), map.data(), trie_bytes);
  const std::string_view texts = map.substr(trie_bytes);
  if (texts.back() != '\0') return false;

  // Like subtries are stored once, so there may be several ways to a unit: what counts is that with
  // the most rules. Round a circle in which a rule ends, there are ever more.
  std::vector<unsigned> most(units.size());
  std::vector<bool> seen(units.size());
  std::vector<Node> open{{0, 0}};
  while (!open.empty()) {
    const Node node = open.back();
    open.pop_back();
    const std::uint32_t first = node.unit ^ offset_of(units[node.unit]);
    if ((first | (kLabels - 1)) >= units.size()) return false;
    for (std::uint32_t label = 0; label < kLabels; ++label) {
      const std::uint32_t child = first ^ label, unit = units[child];
      if (label_of(unit) != label) continue;
      Node next{child, node.rules};
      if (ends_rule(unit)) {
        const std::uint32_t text = child ^ offset_of(unit);
        if (text >= units.size() || (units[text] & ~kIsText) >= texts.size()) return false;
        if (++next.rules > kMostRules) return false;
      }
      if (seen[child] && next.rules <= most[child]) continue;
      seen[child] = true;
      most[child] = next.rules;
      open.push_back(next);
    }
  }
  return true;
}

}  // namespace cllm::data
