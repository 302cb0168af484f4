#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

#include "cllm/data/builtin/grammar.h"

/// Two judges of a grammar that share nothing with its engine but the data.
namespace cllm::data::testing {

/// How often and with which total probability a symbol derives one text.
struct Derivations {
  double count = 0;
  double log_probability = -INFINITY;
};

/// Sums over all derivations of a text by the inside algorithm (Baker: "Trainable grammars for
/// speech recognition", 1979), for rules of any length and only where a symbol may begin.
class InsideScorer {
 public:
  InsideScorer(const Grammar& grammar, std::string_view text) : grammar_(grammar), text_(text) {}

  Derivations whole_text(Grammar::Symbol symbol) {
    const Ends& ends = from(symbol, 0);
    const auto found = ends.find(text_.size());
    return found == ends.end() ? Derivations{} : found->second;
  }

 private:
  using Ends = std::map<std::size_t, Derivations>;  // by the position behind the derived text

  static void add(Ends& ends, std::size_t end, const Derivations& more) {
    Derivations& sum = ends[end];
    const double larger = std::max(sum.log_probability, more.log_probability);
    const double smaller = std::min(sum.log_probability, more.log_probability);
    sum.log_probability = larger + std::log1p(std::exp(smaller - larger));
    sum.count += more.count;
  }

  const Ends& from(Grammar::Symbol symbol, std::size_t begin) {
    const auto key = std::pair(static_cast<std::uint32_t>(symbol), begin);
    if (const auto known = known_.find(key); known != known_.end()) return known->second;
    Ends ends;
    switch (grammar_.kind(symbol)) {
      case Grammar::Kind::kLiteral: {
        const std::string_view literal = grammar_.text(symbol);
        if (text_.substr(begin).starts_with(literal)) ends[begin + literal.size()] = {1, 0};
        break;
      }
      case Grammar::Kind::kSequence:
        ends[begin] = {1, 0};
        for (const Grammar::Symbol part : grammar_.children(symbol)) {
          Ends longer;
          for (const auto& [middle, before] : ends) {
            for (const auto& [end, behind] : from(part, middle)) {
              add(longer, end,
                  {before.count * behind.count, before.log_probability + behind.log_probability});
            }
          }
          ends = std::move(longer);
        }
        break;
      case Grammar::Kind::kChoice: {
        const auto children = grammar_.children(symbol);
        const std::vector<double> probabilities = grammar_.probabilities(symbol);
        for (std::size_t i = 0; i < children.size(); ++i) {
          for (const auto& [end, inside] : from(children[i], begin)) {
            add(ends, end, {inside.count, inside.log_probability + std::log(probabilities[i])});
          }
        }
        break;
      }
    }
    return known_.emplace(key, std::move(ends)).first->second;
  }

  const Grammar& grammar_;
  std::string_view text_;
  std::map<std::pair<std::uint32_t, std::size_t>, Ends> known_;
};

/// Decides whether any text has two derivations, over all texts of a symbol: it follows two
/// derivations at once, from each choice where they part, as long as they emit the same bytes.
/// What is left to derive is a stack of symbols; equal stacks are one, so there are finitely many
/// pairs, and each is followed once.
class AmbiguitySearch {
 public:
  explicit AmbiguitySearch(const Grammar& grammar) : grammar_(grammar) {}

  bool ambiguous(Grammar::Symbol start) {
    std::vector<Stack> todo = {normal(push(start, 0, kEmpty))};
    while (!todo.empty()) {
      const Stack stack = todo.back();
      todo.pop_back();
      if (stack == kEmpty || !visited_.insert(stack).second) continue;
      const Cell cell = cells_[stack];
      if (grammar_.kind(cell.symbol) == Grammar::Kind::kLiteral) {
        todo.push_back(normal(cell.rest));
        continue;
      }
      for (const auto& [a, b] : rivals(cell.symbol, cell.symbol)) {
        if (a < b && meet(alternative(cell, a), alternative(cell, b))) return true;
      }
      const auto children = grammar_.children(cell.symbol);
      for (std::size_t i = 0; i < children.size(); ++i) {
        // All words of a list go on alike.
        const bool is_word = grammar_.kind(children[i]) == Grammar::Kind::kLiteral;
        todo.push_back(is_word ? normal(cell.rest) : alternative(cell, i));
      }
    }
    return false;
  }

  /// Whether two symbols derive a common text.
  bool share_a_text(Grammar::Symbol a, Grammar::Symbol b) {
    return meet(normal(push(a, 0, kEmpty)), normal(push(b, 0, kEmpty)));
  }

  /// Stacks that one derivation, and pairs of stacks that two, have been followed through.
  std::size_t stacks() const { return visited_.size(); }
  std::size_t pairs() const { return met_.size(); }

 private:
  using Stack = std::uint32_t;
  static constexpr Stack kEmpty = 0;

  struct Cell {
    Grammar::Symbol symbol;
    std::uint32_t emitted;  // bytes of a literal that are already out
    Stack rest;
    auto operator<=>(const Cell&) const = default;
  };

  Stack push(Grammar::Symbol symbol, std::uint32_t emitted, Stack rest) {
    const Cell cell{symbol, emitted, rest};
    const auto [found, is_new] = ids_.try_emplace(cell, static_cast<Stack>(cells_.size()));
    if (is_new) cells_.push_back(cell);
    return found->second;
  }

  /// The same stack with a choice or a byte to emit on top.
  Stack normal(Stack stack) {
    while (stack != kEmpty) {
      const Cell cell = cells_[stack];
      const Grammar::Kind kind = grammar_.kind(cell.symbol);
      if (kind == Grammar::Kind::kSequence) {
        const auto parts = grammar_.children(cell.symbol);
        stack = cell.rest;
        for (auto part = parts.rbegin(); part != parts.rend(); ++part)
          stack = push(*part, 0, stack);
      } else if (kind == Grammar::Kind::kLiteral &&
                 cell.emitted == grammar_.text(cell.symbol).size()) {
        stack = cell.rest;
      } else {
        break;
      }
    }
    return stack;
  }

  Stack alternative(const Cell& choice, std::size_t i) {
    return normal(push(grammar_.children(choice.symbol)[i], 0, choice.rest));
  }

  /// Whether one begins with the other, so that both may be emitted.
  static bool agree(std::string_view x, std::string_view y) {
    return x.starts_with(y) || y.starts_with(x);
  }

  /// The pairs of alternatives of two choices that may emit the same bytes: all but the pairs of
  /// literals of which neither begins with the other.
  const std::vector<std::pair<std::size_t, std::size_t>>& rivals(Grammar::Symbol a,
                                                                 Grammar::Symbol b) {
    const auto [found, is_new] = rivals_.try_emplace(std::pair(a, b));
    if (!is_new) return found->second;
    const auto as = grammar_.children(a), bs = grammar_.children(b);
    for (std::size_t i = 0; i < as.size(); ++i) {
      for (std::size_t j = 0; j < bs.size(); ++j) {
        if (grammar_.kind(as[i]) == Grammar::Kind::kLiteral &&
            grammar_.kind(bs[j]) == Grammar::Kind::kLiteral) {
          if (!agree(grammar_.text(as[i]), grammar_.text(bs[j]))) continue;
        }
        found->second.emplace_back(i, j);
      }
    }
    return found->second;
  }

  /// Whether two derivations that have parted, and emitted the same, can both end so.
  bool meet(Stack first, Stack second) {
    std::vector<std::pair<Stack, Stack>> todo = {{first, second}};
    while (!todo.empty()) {
      const auto [p, q] = todo.back();
      todo.pop_back();
      if (p == q) return true;
      if (p == kEmpty || q == kEmpty) {
        const Stack other = p == kEmpty ? q : p;
        if (derives_nothing(other)) return true;
        continue;
      }
      if (!met_.insert(std::uint64_t{p} << 32 | q).second) continue;
      const Cell a = cells_[p], b = cells_[q];
      const bool a_chooses = grammar_.kind(a.symbol) == Grammar::Kind::kChoice;
      const bool b_chooses = grammar_.kind(b.symbol) == Grammar::Kind::kChoice;
      if (a_chooses && b_chooses) {
        for (const auto& [i, j] : rivals(a.symbol, b.symbol)) {
          const Grammar::Symbol chosen = grammar_.children(a.symbol)[i];
          if (chosen == grammar_.children(b.symbol)[j] &&
              grammar_.kind(chosen) == Grammar::Kind::kLiteral) {
            todo.emplace_back(normal(a.rest), normal(b.rest));  // the same for many words
          } else {
            todo.emplace_back(alternative(a, i), alternative(b, j));
          }
        }
      } else if (a_chooses || b_chooses) {
        const Cell& choice = a_chooses ? a : b;
        const Cell& word = a_chooses ? b : a;
        const std::string_view ahead = grammar_.text(word.symbol).substr(word.emitted);
        const auto children = grammar_.children(choice.symbol);
        for (std::size_t i = 0; i < children.size(); ++i) {
          if (grammar_.kind(children[i]) == Grammar::Kind::kLiteral &&
              !agree(grammar_.text(children[i]), ahead)) {
            continue;
          }
          todo.emplace_back(a_chooses ? alternative(a, i) : p, a_chooses ? q : alternative(b, i));
        }
      } else {
        const std::string_view x = grammar_.text(a.symbol).substr(a.emitted);
        const std::string_view y = grammar_.text(b.symbol).substr(b.emitted);
        const auto shared = static_cast<std::uint32_t>(std::min(x.size(), y.size()));
        if (x.substr(0, shared) != y.substr(0, shared)) continue;
        todo.emplace_back(normal(push(a.symbol, a.emitted + shared, a.rest)),
                          normal(push(b.symbol, b.emitted + shared, b.rest)));
      }
    }
    return false;
  }

  bool derives_nothing(Stack stack) {
    for (; stack != kEmpty; stack = cells_[stack].rest) {
      if (!nullable(cells_[stack].symbol)) return false;
    }
    return true;
  }

  bool nullable(Grammar::Symbol symbol) const {
    const auto children = grammar_.children(symbol);
    const auto test = [&](Grammar::Symbol child) { return nullable(child); };
    switch (grammar_.kind(symbol)) {
      case Grammar::Kind::kLiteral:
        return grammar_.text(symbol).empty();
      case Grammar::Kind::kSequence:
        return std::all_of(children.begin(), children.end(), test);
      case Grammar::Kind::kChoice:
        return std::any_of(children.begin(), children.end(), test);
    }
    return false;
  }

  const Grammar& grammar_;
  std::vector<Cell> cells_ = {Cell{}};  // cell 0 is the empty stack
  std::map<Cell, Stack> ids_;
  std::unordered_set<Stack> visited_;
  std::unordered_set<std::uint64_t> met_;
  std::map<std::pair<Grammar::Symbol, Grammar::Symbol>,
           std::vector<std::pair<std::size_t, std::size_t>>>
      rivals_;
};

}  // namespace cllm::data::testing
