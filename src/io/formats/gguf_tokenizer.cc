#include "gguf_tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <set>

#include "cllm/base/error.h"
#include "cllm/data/byte_alphabet.h"
#include "cllm/data/tokenizer.h"

namespace cllm::io {
namespace {

using Method = TokenizerTable::Method;

constexpr const char* kModel = "tokenizer.ggml.model";
constexpr const char* kTokens = "tokenizer.ggml.tokens";
constexpr const char* kScores = "tokenizer.ggml.scores";
constexpr const char* kTypes = "tokenizer.ggml.token_type";
constexpr const char* kMerges = "tokenizer.ggml.merges";
constexpr const char* kPre = "tokenizer.ggml.pre";

/// llama.cpp's names of how byte-level BPE splits text (its llama-vocab.cpp), whether it takes
/// words that are tokens first, and whether the models that have it bring text to normalisation
/// form C, which llama.cpp leaves out.
struct Pre {
  std::string_view split;  ///< data::ByteLevelTables'
  std::string_view name;
  bool takes_words_first;
  bool normalises;
};
constexpr Pre kPres[] = {{"gpt2", "gpt-2", false, false},
                         {"llama3", "llama-bpe", true, false},
                         {"qwen2", "qwen2", false, true},
                         {"smollm", "smollm", false, false}};

std::string character_of_byte(int byte) {
  return data::in_byte_alphabet(std::string(1, static_cast<char>(byte)));
}

std::vector<std::string> characters_of_bytes() {
  std::vector<std::string> characters;
  for (int byte = 0; byte < 256; ++byte) characters.push_back(character_of_byte(byte));
  return characters;
}

/// What fills a vocabulary up to the model's, as llama.cpp's converter has it.
std::string padding(std::size_t token) { return fmt::format("[PAD{}]", token); }

TokenizerTable read_sentencepiece(const GgufFile& file) {
  TokenizerTable table;
  table.method = Method::kBpe;
  const std::vector<std::string> tokens = file.texts(kTokens);
  const std::vector<float> scores = file.floats(kScores);
  const std::vector<std::int32_t> types = file.integers(kTypes);
  if (scores.size() != tokens.size() || types.size() != tokens.size()) {
    fail("{}: its tokens, scores and token types are not as many", file.path());
  }
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (types[i] < 1 || types[i] > 6) {
      fail("{}: its token {} has the unknown type {}", file.path(), i, types[i]);
    }
    table.pieces.push_back({tokens[i], scores[i], static_cast<PieceType>(types[i])});
  }
  while (!table.pieces.empty() && table.pieces.back().type == PieceType::kUnused &&
         table.pieces.back().text == padding(table.pieces.size() - 1)) {
    table.pieces.pop_back();
  }
  return table;
}

/// Of kind "gpt2", llama.cpp's word for all byte-level BPE.
std::string read_byte_level(const GgufFile& file) {
  const std::string name = file.has(kPre) ? file.text(kPre) : "gpt-2";
  const auto* const pre = std::ranges::find(kPres, name, &Pre::name);
  if (pre == std::end(kPres)) {
    fail("how it splits text, {:?} in llama.cpp's words, is not known here", name.substr(0, 40));
  }
  const std::vector<std::string> tokens = file.texts(kTokens);
  const std::vector<std::int32_t> types = file.integers(kTypes);
  if (types.size() != tokens.size()) fail("it has not as many token types as tokens");
  data::ByteLevelTables tables;
  tables.merges = file.texts(kMerges);
  tables.split = pre->split;
  tables.takes_words_first = pre->takes_words_first;
  tables.normalises = pre->normalises;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    const auto type = static_cast<PieceType>(types[i]);
    // What fills the vocabulary up is a token of no text.
    const bool is_special = type == PieceType::kControl || type == PieceType::kUnused;
    tables.tokens.push_back({.text = tokens[i],
                             .is_added = is_special || type == PieceType::kUserDefined,
                             .is_special = is_special});
  }
  while (!tables.tokens.empty() && tables.tokens.back().text == padding(tables.tokens.size() - 1)) {
    tables.tokens.pop_back();
  }
  return data::byte_level_json(tables, file.path());
}

/// What llama.cpp is to know of it besides tokens.
void add_byte_level(const data::ByteLevelTables& tables, const std::string& name,
                    GgufWriter& writer) {
  const auto* const pre = std::ranges::find(kPres, tables.split, &Pre::split);
  if (pre == std::end(kPres)) {
    fail("{} has a tokenizer that splits text as llama.cpp doesn't; export with --format hf", name);
  }
  if (pre->takes_words_first != tables.takes_words_first) {
    fail(
        "{} has a tokenizer that {} words that are tokens before it merges, and llama.cpp does "
        "otherwise with its pattern; export with --format hf",
        name, tables.takes_words_first ? "takes" : "doesn't take");
  }
  writer.add(kPre, std::string(pre->name));
  writer.add(kMerges, tables.merges);
}

}  // namespace

void read_gguf_tokenizer(const GgufFile& file, ForeignModel& model) {
  const std::string kind = file.has(kModel) ? file.text(kModel) : "none";
  if (kind == "none" || kind == "no_vocab") {
    model.tokenizer_note = "the file has none";
    return;
  }
  if (kind == "gpt2" && file.texts(kTokens) == characters_of_bytes() &&
      (!file.has(kMerges) || file.texts(kMerges).empty())) {
    model.tokenizer_kind = "bytes";
    return;
  }
  if (kind != "llama" && kind != "gpt2") {
    model.tokenizer_note = fmt::format(
        "its tokenizer, {:?} in llama.cpp's words, can't be read here; text must come as token "
        "files",
        kind.substr(0, 40));
    return;
  }
  try {
    const bool is_byte_level = kind == "gpt2";
    const std::string blob =
        is_byte_level ? read_byte_level(file)
                      : serialise_sentencepiece(sentencepiece_of(read_sentencepiece(file)));
    const auto tokenizer =
        data::make_tokenizer(is_byte_level ? data::kByteLevelKind : "sentencepiece", blob);
    if (tokenizer->vocabulary() > model.config.vocabulary) {
      fail("it has {} tokens and the model {}", tokenizer->vocabulary(), model.config.vocabulary);
    }
    model.tokenizer_kind = tokenizer->kind();
    model.tokenizer_blob = tokenizer->blob();
  } catch (const Error& error) {
    model.tokenizer_note = fmt::format("its tokenizer can't be used: {}", error.what());
  }
}

void add_gguf_tokenizer(const TokenizerTable& table, std::size_t vocabulary,
                        const std::string& name, GgufWriter& writer) {
  if (table.method == Method::kUnigram) {
    fail(
        "{} has a unigram tokenizer, and llama.cpp has none with byte pieces: it would make other "
        "tokens; train with --tokenizer bpe:N, or export with --format hf",
        name);
  }
  if (!table.normaliser.empty()) {
    fail(
        "{} has a tokenizer that changes text before it is cut into pieces, which llama.cpp would "
        "not do",
        name);
  }
  const bool is_bytes = table.method == Method::kBytes;
  const bool is_byte_level = table.method == Method::kByteLevel;
  if (!is_bytes && table.space_is_byte) {
    fail(
        "{} has a tokenizer without a piece for a space, which llama.cpp would write as other "
        "bytes; train it on text that has spaces",
        name);
  }
  std::vector<std::string> tokens;
  std::vector<float> scores;
  std::vector<std::int32_t> types;
  for (const Piece& piece : table.pieces) {
    tokens.push_back(is_bytes ? character_of_byte(byte_of_piece(piece.text)) : piece.text);
    scores.push_back(piece.score);
    types.push_back(static_cast<std::int32_t>(is_bytes ? PieceType::kNormal : piece.type));
  }
  while (tokens.size() < vocabulary) {
    tokens.push_back(padding(tokens.size()));
    scores.push_back(0);
    types.push_back(static_cast<std::int32_t>(PieceType::kUnused));
  }
  if (std::set<std::string_view>(tokens.begin(), tokens.end()).size() != tokens.size()) {
    fail("{} has a tokenizer with two tokens of one text, which llama.cpp can't have", name);
  }
  writer.add(kModel, is_bytes || is_byte_level ? "gpt2" : "llama");
  writer.add(kTokens, tokens);
  writer.add(kTypes, types);
  if (is_byte_level) {
    add_byte_level(table.byte_level, name, writer);
  } else if (is_bytes) {
    writer.add(kPre, "gpt-2");
    writer.add(kMerges, std::vector<std::string>());
  } else {
    writer.add(kScores, scores);
    writer.add("tokenizer.ggml.add_space_prefix", false);
  }
  writer.add("tokenizer.ggml.add_bos_token", false);
  writer.add("tokenizer.ggml.add_eos_token", false);
  // Without these keys llama.cpp takes 1 and 2, which are other tokens of ours. Where there is no
  // end of a text, the unknown token, which no model is trained to say, stands for it.
  const auto or_unknown = [&](const std::optional<std::size_t>& token) {
    return static_cast<std::uint32_t>(token.value_or(table.unknown.value_or(0)));
  };
  writer.add("tokenizer.ggml.bos_token_id", or_unknown(table.beginning));
  writer.add("tokenizer.ggml.eos_token_id", or_unknown(table.end));
  if (table.unknown) {
    writer.add("tokenizer.ggml.unknown_token_id", static_cast<std::uint32_t>(*table.unknown));
  }
}

}  // namespace cllm::io
