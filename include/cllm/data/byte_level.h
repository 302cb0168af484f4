#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace cllm::data {

/// How tokenizers of byte-level BPE are stored: the blob is the text of a tokenizer.json.
inline constexpr std::string_view kByteLevelKind = "byte-level-bpe";

/// A byte-level BPE as its files spell it, for the formats of other programs.
struct ByteLevelTables {
  struct Token {
    std::string text;         ///< in the characters that stand for bytes; of added ones, the text
    bool is_added = false;    ///< found in text before it is split
    bool is_special = false;  ///< one that text becomes only where that is asked for
  };
  std::vector<Token> tokens;        ///< by token
  std::vector<std::string> merges;  ///< "a b", the first first
  /// How text is split: "gpt2", "llama3", "qwen2", or "smollm", which is gpt2's with each digit by
  /// itself; empty where it is otherwise.
  std::string split;
  bool takes_words_first = false;  ///< a word that is a token becomes it without merges
  bool normalises = false;         ///< text is brought to normalisation form C
};

/// Of the text of a tokenizer.json. Throws Error, naming `name`, where it is none that is known.
ByteLevelTables byte_level_tables(std::string_view json, const std::string& name);

/// The text of a tokenizer.json. Throws Error, naming `name`, for a split that is not listed above,
/// and where the tables make no tokenizer.
std::string byte_level_json(const ByteLevelTables& tables, const std::string& name);

}  // namespace cllm::data
