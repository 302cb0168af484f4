#include "cllm/data/builtin/builtin_corpus.h"

#include <set>
#include <string_view>
#include <vector>

#include "builtin_grammar.h"
#include "cllm/base/random.h"

namespace cllm::data {
namespace {

constexpr std::uint64_t kCorpusStream = 0x636f72707573;  // "corpus"

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-'; }

/// Adds the words of `text`, in lower case. No literal of the grammar begins or ends inside a word.
void add_words(std::string_view text, std::set<std::string>& words) {
  std::string word;
  for (const char c : text) {
    if (is_letter(c)) {
      word += static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
    } else if (!word.empty()) {
      words.insert(word);
      word.clear();
    }
  }
  if (!word.empty()) words.insert(word);
}

}  // namespace

const BuiltinGrammar& builtin_grammar() {
  static const BuiltinGrammar grammar = build_builtin_grammar();
  return grammar;
}

BuiltinCorpus generate_builtin_corpus(std::uint64_t seed, std::size_t bytes) {
  const auto& [grammar, paragraph] = builtin_grammar();
  RandomStream random(seed, kCorpusStream);
  BuiltinCorpus corpus{{}, 0};
  corpus.text.reserve(bytes + 4096);
  while (corpus.text.size() < bytes) {
    corpus.log_probability += grammar.generate(paragraph, random, corpus.text);
  }
  return corpus;
}

double builtin_entropy_rate() {
  const auto& [grammar, paragraph] = builtin_grammar();
  return grammar.entropy(paragraph) / grammar.expected_bytes(paragraph);
}

std::size_t builtin_vocabulary_words() {
  const auto& [grammar, paragraph] = builtin_grammar();
  // Symbols are made of earlier ones: going back from the paragraph meets all that it can contain.
  std::vector<bool> reached(grammar.size(), false);
  reached[static_cast<std::size_t>(paragraph)] = true;
  std::set<std::string> words;
  for (std::size_t i = grammar.size(); i-- > 0;) {
    if (!reached[i]) continue;
    const auto symbol = static_cast<Grammar::Symbol>(i);
    if (grammar.kind(symbol) == Grammar::Kind::kLiteral) add_words(grammar.text(symbol), words);
    for (const Grammar::Symbol child : grammar.children(symbol)) {
      reached[static_cast<std::size_t>(child)] = true;
    }
  }
  return words.size();
}

}  // namespace cllm::data
