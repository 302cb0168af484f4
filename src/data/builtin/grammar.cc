#include "cllm/data/builtin/grammar.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "cllm/base/error.h"

namespace cllm::data {
namespace {

/// Uniform in [0, n) without bias, from 32 random bits and mostly without a division (Lemire:
/// "Fast random integer generation in an interval", 2019). Text is made of millions of draws.
std::uint32_t below(std::uint32_t n, RandomStream& random) {
  std::uint64_t product = std::uint64_t{random.next_u32()} * n;
  if (static_cast<std::uint32_t>(product) < n) {
    const std::uint32_t reject = -n % n;  // 2^32 mod n
    while (static_cast<std::uint32_t>(product) < reject) {
      product = std::uint64_t{random.next_u32()} * n;
    }
  }
  return static_cast<std::uint32_t>(product >> 32);
}

}  // namespace

const Grammar::Node& Grammar::node(Symbol symbol) const {
  const auto index = static_cast<std::size_t>(symbol);
  if (index >= nodes_.size()) {
    fail("The grammar has no symbol {}: use only symbols that it returned.", index);
  }
  return nodes_[index];
}

const Grammar::Expectation& Grammar::expectation(Symbol symbol) const {
  node(symbol);
  return expectations_[static_cast<std::size_t>(symbol)];
}

Grammar::Symbol Grammar::add(const Node& node, const Expectation& expectation) {
  nodes_.push_back(node);
  expectations_.push_back(expectation);
  return static_cast<Symbol>(nodes_.size() - 1);
}

Grammar::Symbol Grammar::literal(std::string text) {
  const auto first = static_cast<std::uint32_t>(texts_.size());
  texts_ += text;
  return add({Kind::kLiteral, first, static_cast<std::uint32_t>(text.size())},
             {0, static_cast<double>(text.size())});
}

Grammar::Symbol Grammar::sequence(std::span<const Symbol> parts) {
  double entropy_sum = 0, bytes = 0;
  for (const Symbol part : parts) {
    entropy_sum += entropy(part);
    bytes += expected_bytes(part);
  }
  const auto first = static_cast<std::uint32_t>(children_.size());
  children_.insert(children_.end(), parts.begin(), parts.end());
  cumulative_.resize(children_.size(), 0);
  log_probability_.resize(children_.size(), 0);
  return add({Kind::kSequence, first, static_cast<std::uint32_t>(parts.size())},
             {entropy_sum, bytes});
}

Grammar::Symbol Grammar::choice(std::span<const Alternative> alternatives) {
  std::uint64_t total = 0;
  for (const Alternative& alternative : alternatives) {
    if (alternative.weight == 0) fail("A choice of the grammar has weight 0: leave it out.");
    total += alternative.weight;
  }
  if (total == 0) fail("A choice of the grammar is empty: give it an alternative.");
  if (total > std::numeric_limits<std::uint32_t>::max()) {
    fail("The weights of a choice of the grammar sum to {}: keep them below 2^32.", total);
  }
  double entropy_sum = 0, bytes = 0;
  const auto first = static_cast<std::uint32_t>(children_.size());
  std::uint32_t cumulative = 0;
  for (const Alternative& alternative : alternatives) {
    const double p = static_cast<double>(alternative.weight) / static_cast<double>(total);
    entropy_sum += p * (entropy(alternative.symbol) - std::log(p));
    bytes += p * expected_bytes(alternative.symbol);
    cumulative += alternative.weight;
    children_.push_back(alternative.symbol);
    cumulative_.push_back(cumulative);
    log_probability_.push_back(std::log(p));
  }
  return add({Kind::kChoice, first, static_cast<std::uint32_t>(alternatives.size())},
             {entropy_sum, bytes});
}

std::string_view Grammar::text(Symbol literal) const {
  const Node& n = node(literal);
  if (n.kind != Kind::kLiteral) fail("Only a literal of a grammar has a text: ask its children.");
  return std::string_view(texts_).substr(n.first, n.count);
}

std::span<const Grammar::Symbol> Grammar::children(Symbol symbol) const {
  const Node& n = node(symbol);
  if (n.kind == Kind::kLiteral) return {};
  return std::span(children_).subspan(n.first, n.count);
}

std::vector<double> Grammar::probabilities(Symbol choice) const {
  const Node& n = node(choice);
  if (n.kind != Kind::kChoice) fail("Only a choice of a grammar has probabilities.");
  std::vector<double> result;
  const double total = cumulative_[n.first + n.count - 1];
  std::uint32_t before = 0;
  for (std::uint32_t i = n.first; i < n.first + n.count; ++i) {
    result.push_back((cumulative_[i] - before) / total);
    before = cumulative_[i];
  }
  return result;
}

double Grammar::generate(Symbol symbol, RandomStream& random, std::string& text) const {
  const Node& n = node(symbol);
  switch (n.kind) {
    case Kind::kLiteral:
      text.append(texts_, n.first, n.count);
      return 0;
    case Kind::kSequence: {
      double log_probability = 0;
      // Most of the time goes into waiting for memory: ask for all parts at once.
      for (std::uint32_t i = n.first; i < n.first + n.count; ++i) {
        __builtin_prefetch(&nodes_[static_cast<std::size_t>(children_[i])]);
      }
      for (std::uint32_t i = n.first; i < n.first + n.count; ++i) {
        log_probability += generate(children_[i], random, text);
      }
      return log_probability;
    }
    case Kind::kChoice: {
      const std::uint32_t* first = cumulative_.data() + n.first;
      const std::uint32_t* last = first + n.count;
      const std::uint32_t drawn = below(last[-1], random);
      const auto chosen =
          n.first + static_cast<std::uint32_t>(std::upper_bound(first, last, drawn) - first);
      return log_probability_[chosen] + generate(children_[chosen], random, text);
    }
  }
  return 0;  // not reached: the cases are all kinds
}

}  // namespace cllm::data
