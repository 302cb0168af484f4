#include "grammar_builder.h"

namespace cllm::data {

Grammar::Symbol GrammarBuilder::literal(std::string_view text) {
  if (const auto found = literals_.find(text); found != literals_.end()) return found->second;
  const Grammar::Symbol symbol = grammar_.literal(std::string(text));
  literals_.emplace(text, symbol);
  return symbol;
}

Grammar::Symbol GrammarBuilder::sequence(const std::vector<Part>& parts) {
  std::vector<Grammar::Symbol> symbols;
  symbols.reserve(parts.size());
  for (const Part& part : parts) {
    symbols.push_back(part.is_text ? literal(part.text) : part.symbol);
  }
  return symbols.size() == 1 ? symbols.front() : grammar_.sequence(symbols);
}

Grammar::Symbol GrammarBuilder::choice(const std::vector<Option>& options) {
  std::vector<Grammar::Alternative> alternatives;
  alternatives.reserve(options.size());
  for (const Option& option : options) {
    alternatives.push_back({option.weight, sequence(option.parts)});
  }
  return grammar_.choice(alternatives);
}

Grammar::Symbol GrammarBuilder::words(const std::vector<std::string>& words,
                                      const std::vector<std::string>& articles) {
  constexpr std::uint32_t kHead = 1'000'000;
  std::vector<Option> options;
  options.reserve(words.size());
  for (std::uint32_t k = 0; k < words.size(); ++k) {
    const Grammar::Symbol word = literal(articles.empty() ? words[k] : articles[k] + words[k]);
    options.push_back({kHead / (k + 2), {word}});
  }
  return choice(options);
}

}  // namespace cllm::data
