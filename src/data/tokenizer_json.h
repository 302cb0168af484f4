#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "byte_pairs.h"
#include "word_splitter.h"

namespace cllm::data {

/// What a tokenizer.json of Hugging Face says of a byte-level BPE, checked.
struct BytePairModel {
  /// A token that text becomes where it holds this content, whatever the pattern; of normalised
  /// text where `normalized`.
  struct Added {
    std::string content;
    std::uint32_t token = 0;
    bool normalized = false;
  };

  std::vector<std::string> tokens;         ///< the bytes of each; of special and unused ones none
  std::array<std::uint32_t, 256> bytes{};  ///< the token of each byte
  std::vector<Merge> merges;
  std::vector<std::uint32_t> words;  ///< that come before any merge (ignore_merges); else empty
  std::map<std::string, std::uint32_t, std::less<>> specials;
  std::vector<Added> added;  ///< not special; the longest first
  WordSplitter splitter;
  bool nfc = false;  ///< text is brought to normalisation form C
};

/// Reads the text of a tokenizer.json. Throws Error, naming `name`, where it is not one, where it
/// contradicts itself, or where it asks for what is not known here and would change tokens.
BytePairModel parse_tokenizer_json(std::string_view text, const std::string& name);

}  // namespace cllm::data
