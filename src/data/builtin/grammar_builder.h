#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cllm/data/builtin/grammar.h"

namespace cllm::data {

/// Writes the rules of a `Grammar` as they are read: texts and symbols, one after the other.
class GrammarBuilder {
 public:
  /// A symbol, or a text that stands for itself.
  struct Part {
    Part(Grammar::Symbol part) : symbol(part), is_text(false) {}
    Part(std::string part) : text(std::move(part)), is_text(true) {}
    Part(const char* part) : text(part), is_text(true) {}

    Grammar::Symbol symbol{};
    std::string text;
    bool is_text;
  };

  struct Option {
    std::uint32_t weight;
    std::vector<Part> parts;
  };

  Grammar::Symbol literal(std::string_view text);
  Grammar::Symbol sequence(const std::vector<Part>& parts);
  Grammar::Symbol choice(const std::vector<Option>& options);
  /// One of `words`, the k-th (from 0) with a weight of about 1 / (k + 2), after Zipf's law; each
  /// after its article, if there are any.
  Grammar::Symbol words(const std::vector<std::string>& words,
                        const std::vector<std::string>& articles = {});

  Grammar take() { return std::move(grammar_); }

 private:
  Grammar grammar_;
  std::map<std::string, Grammar::Symbol, std::less<>> literals_;
};

}  // namespace cllm::data
