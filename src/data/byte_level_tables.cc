#include <algorithm>
#include <nlohmann/json.hpp>

#include "cllm/base/error.h"
#include "cllm/data/byte_level.h"
#include "strict_json.h"
#include "tokenizer_files.h"
#include "tokenizer_json.h"
#include "unicode.h"

namespace cllm::data {
namespace {

using Json = nlohmann::json;

struct Split {
  std::string_view name;
  SplitPattern pattern;
  DigitSplit digits;
};

constexpr Split kSplits[] = {{"gpt2", SplitPattern::kGpt2, DigitSplit::kNone},
                             {"llama3", SplitPattern::kLlama3, DigitSplit::kNone},
                             {"qwen2", SplitPattern::kQwen2, DigitSplit::kNone},
                             {"smollm", SplitPattern::kGpt2, DigitSplit::kSingle}};

std::string name_of(const WordSplitter& splitter) {
  for (const Split& split : kSplits) {
    if (split.pattern == splitter.pattern() && split.digits == splitter.digits()) {
      return std::string(split.name);
    }
  }
  return {};
}

}  // namespace

ByteLevelTables byte_level_tables(std::string_view text, const std::string& name) {
  const BytePairModel model = parse_tokenizer_json(text, name);  // so that what follows is there
  const Json json = parse_strict_json(text, name);
  ByteLevelTables tables;
  tables.tokens.resize(model.tokens.size());
  for (const auto& [piece, token] : json.at("model").at("vocab").items()) {
    tables.tokens.at(token.get<std::size_t>()).text = piece;
  }
  for (const Json& added : json.value("added_tokens", Json::array())) {
    tables.tokens.at(added.at("id").get<std::size_t>()) = {
        .text = added.at("content"), .is_added = true, .is_special = added.value("special", false)};
  }
  for (const Json& merge : json.at("model").at("merges")) {
    tables.merges.push_back(merge.is_string() ? merge.get<std::string>()
                                              : merge.at(0).get<std::string>() + " " +
                                                    merge.at(1).get<std::string>());
  }
  tables.split = name_of(model.splitter);
  tables.takes_words_first = !model.words.empty();
  tables.normalises = model.nfc;
  return tables;
}

std::string byte_level_json(const ByteLevelTables& tables, const std::string& name) {
  const auto* const split = std::ranges::find(kSplits, tables.split, &Split::name);
  if (split == std::end(kSplits)) {
    fail("{}: how its tokenizer splits text ({:?}) is not known here", name, tables.split);
  }
  const auto require_text = [&](const std::string& text) {
    if (well_formed_length(text) < text.size())
      fail("{}: its tokenizer has a token or a merge that isn't UTF-8", name);
  };
  for (const ByteLevelTables::Token& token : tables.tokens) require_text(token.text);
  for (const std::string& merge : tables.merges) require_text(merge);
  Json vocabulary = Json::object(), added = Json::array();
  for (std::size_t i = 0; i < tables.tokens.size(); ++i) {
    const ByteLevelTables::Token& token = tables.tokens[i];
    if (token.is_added) {
      added.push_back({{"id", i},
                       {"content", token.text},
                       {"normalized", false},
                       {"special", token.is_special}});
    } else if (!vocabulary.emplace(token.text, i).second) {
      fail("{}: its tokenizer has the token {:?} twice", name, token.text);
    }
  }
  std::string json = Json{{"version", "1.0"},
                          {"added_tokens", std::move(added)},
                          {"normalizer", tables.normalises ? Json{{"type", "NFC"}} : Json()},
                          {"pre_tokenizer", pre_tokenizer_of(split->pattern, split->digits)},
                          {"decoder", {{"type", "ByteLevel"}}},
                          {"model",
                           {{"type", "BPE"},
                            {"ignore_merges", tables.takes_words_first},
                            {"vocab", std::move(vocabulary)},
                            {"merges", tables.merges}}}}
                         .dump();
  parse_tokenizer_json(json, name);
  return json;
}

}  // namespace cllm::data
