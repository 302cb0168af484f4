#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cllm/base/random.h"

namespace cllm::data {

/// A probabilistic context-free grammar without recursion, as data: a table of symbols, each a
/// literal, a sequence of earlier symbols, or a weighted choice between earlier symbols. Because a
/// symbol can only be made of earlier ones, every expectation over its derivations is a finite sum
/// and is computed when the symbol is added.
///
/// Weights are integers and a choice is drawn by integer arithmetic alone, so that a seed gives
/// the same text on every machine. Adding is not thread-safe; everything const is.
class Grammar {
 public:
  enum class Symbol : std::uint32_t {};
  enum class Kind : std::uint8_t { kLiteral, kSequence, kChoice };

  struct Alternative {
    std::uint32_t weight;
    Symbol symbol;
  };

  /// Derives `text` and nothing else. It may be empty.
  Symbol literal(std::string text);
  /// Derives what `parts` derive, one after the other.
  Symbol sequence(std::span<const Symbol> parts);
  /// Derives what one of `alternatives` derives, drawn in proportion to the weights. Throws
  /// `Error` if there is none, if a weight is 0, or if their sum exceeds 2^32 - 1.
  Symbol choice(std::span<const Alternative> alternatives);

  std::size_t size() const { return nodes_.size(); }
  Kind kind(Symbol symbol) const { return node(symbol).kind; }
  /// The text of a literal.
  std::string_view text(Symbol literal) const;
  /// The parts of a sequence or the alternatives of a choice, in the order they were given.
  std::span<const Symbol> children(Symbol symbol) const;
  /// Probability of each child of a choice.
  std::vector<double> probabilities(Symbol choice) const;

  /// Entropy of the derivations of `symbol`, in nats: that of its text, if the grammar is
  /// unambiguous, and more otherwise. For a choice, sum of p (-ln p + entropy of the alternative);
  /// for a sequence, the sum over its parts, which are drawn independently (Grenander: "Syntax
  /// controlled probabilities", 1967).
  double entropy(Symbol symbol) const { return expectation(symbol).entropy; }
  /// Expected length of the text of `symbol`, in bytes.
  double expected_bytes(Symbol symbol) const { return expectation(symbol).bytes; }

  /// Draws a derivation of `symbol`, appends its text to `text`, and returns the natural logarithm
  /// of its probability.
  double generate(Symbol symbol, RandomStream& random, std::string& text) const;

 private:
  struct Node {
    Kind kind;
    std::uint32_t first;  // into texts_ (literal) or children_
    std::uint32_t count;  // bytes or children
  };

  /// What is known of a symbol's derivations; beside its node, because text is made of nodes alone,
  /// which so stay in the cache.
  struct Expectation {
    double entropy;
    double bytes;
  };

  /// Throws `Error` for a symbol of another grammar that this one does not have.
  const Node& node(Symbol symbol) const;
  const Expectation& expectation(Symbol symbol) const;
  Symbol add(const Node& node, const Expectation& expectation);

  std::vector<Node> nodes_;
  std::vector<Expectation> expectations_;  // beside nodes_
  std::string texts_;                      // of all literals
  std::vector<Symbol> children_;           // of all sequences and choices
  std::vector<std::uint32_t> cumulative_;  // beside children_: sum of the weights up to here
  std::vector<double> log_probability_;    // beside children_: of the alternative
};

}  // namespace cllm::data
