#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "cllm/data/builtin/grammar.h"

namespace cllm::data {

/// Text to train on where no data is given: short paragraphs of English, one a line, drawn from a
/// probabilistic grammar. What a model can learn from it has several ranges: spelling; agreement
/// of subject and verb across the clauses between them; quotes that close; and, over a whole
/// paragraph, the tense, the topic that its nouns are from, and its hero with name, trade and
/// pronoun. The grammar is unambiguous, so the probability of a text is that of its derivation,
/// and no model's mean loss can be below `builtin_entropy_rate()`, but by the luck of a sample.
struct BuiltinCorpus {
  std::string text;        ///< printable ASCII and '\n'
  double log_probability;  ///< of exactly these paragraphs, in nats
};

/// Whole paragraphs from `seed`, until there are at least `bytes` bytes: the same on every machine,
/// and a longer text begins with a shorter one. Thread-safe.
BuiltinCorpus generate_builtin_corpus(std::uint64_t seed, std::size_t bytes);

/// Entropy rate in nats per byte: entropy of a paragraph / its expected length, both exact up to
/// rounding. Paragraphs are independent, so by the law of large numbers it is the limit of
/// -log_probability / bytes.
double builtin_entropy_rate();

/// Number of distinct words, upper and lower case taken as one, that the grammar can produce.
std::size_t builtin_vocabulary_words();

struct BuiltinGrammar {
  Grammar grammar;
  Grammar::Symbol paragraph;  ///< with its newline
};

/// The grammar itself. Built at the first call; thread-safe.
const BuiltinGrammar& builtin_grammar();

}  // namespace cllm::data
