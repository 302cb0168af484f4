#include <algorithm>
#include <cctype>
#include <map>
#include <tuple>

#include "cllm/base/error.h"
#include "cllm/base/utf8.h"
#include "tokenizer_table.h"

namespace cllm::io {
namespace {

using Json = nlohmann::json;
using Method = TokenizerTable::Method;

constexpr const char* kSpace = "\u2581";
/// Below any piece's: what no text may be made of has it.
constexpr double kNever = -1e6;

/// Two pieces that become one. The best score merges first, and of equal ones the leftmost.
struct Merge {
  double score;
  std::size_t whole, left, right;  // tokens
};

/// All pairs of pieces that make a piece: SentencePiece knows pieces alone.
std::vector<Merge> merges_of(const std::vector<Piece>& pieces) {
  std::map<std::string_view, std::size_t> token_of;
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    if (pieces[i].type == PieceType::kNormal) token_of.emplace(pieces[i].text, i);
  }
  std::vector<Merge> merges;
  for (const auto& [text, whole] : token_of) {
    for (std::size_t at = utf8_length(text); at > 0 && at < text.size();) {
      const auto left = token_of.find(text.substr(0, at)), right = token_of.find(text.substr(at));
      if (left != token_of.end() && right != token_of.end()) {
        merges.push_back(
            {static_cast<double>(pieces[whole].score), whole, left->second, right->second});
      }
      const std::size_t length = utf8_length(text.substr(at));
      if (length == 0) break;
      at += length;
    }
  }
  std::ranges::sort(merges, {}, [](const Merge& merge) {
    return std::tuple(-merge.score, merge.whole, merge.left, merge.right);
  });
  return merges;
}

Json bpe_model(const TokenizerTable& table) {
  Json vocabulary = Json::object(), merges = Json::array();
  for (std::size_t i = 0; i < table.pieces.size(); ++i) vocabulary[table.pieces[i].text] = i;
  for (const Merge& merge : merges_of(table.pieces)) {
    merges.push_back(table.pieces[merge.left].text + " " + table.pieces[merge.right].text);
  }
  Json model = {{"type", "BPE"},
                {"dropout", nullptr},
                {"unk_token", nullptr},
                {"continuing_subword_prefix", nullptr},
                {"end_of_word_suffix", nullptr},
                {"fuse_unk", true},
                {"byte_fallback", !table.byte_tokens().empty()},
                {"ignore_merges", false},
                {"vocab", std::move(vocabulary)},
                {"merges", std::move(merges)}};
  if (table.unknown) model["unk_token"] = table.pieces[*table.unknown].text;
  return model;
}

Json unigram_model(const TokenizerTable& table) {
  Json vocabulary = Json::array();
  for (const Piece& piece : table.pieces) {
    // Bytes and controls stand for no text that spells them.
    const bool is_text = piece.type == PieceType::kNormal || piece.type == PieceType::kUserDefined;
    vocabulary.push_back({piece.text, is_text ? static_cast<double>(piece.score) : kNever});
  }
  return {{"type", "Unigram"},
          {"unk_id", table.unknown ? Json(*table.unknown) : Json()},
          {"byte_fallback", !table.byte_tokens().empty()},
          {"vocab", std::move(vocabulary)}};
}

Json replace(const char* from, const char* to) {
  return {{"type", "Replace"}, {"pattern", {{"String", from}}}, {"content", to}};
}

/// Tokens that are found in text before the model sees it.
Json added_tokens(const std::vector<Piece>& pieces) {
  Json tokens = Json::array();
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    const bool is_control = pieces[i].type == PieceType::kControl;
    if (!is_control && pieces[i].type != PieceType::kUserDefined) continue;
    tokens.push_back({{"id", i},
                      {"content", pieces[i].text},
                      {"single_word", false},
                      {"lstrip", false},
                      {"rstrip", false},
                      {"normalized", false},
                      {"special", is_control}});
  }
  return tokens;
}

/// Of a unigram model: text that spells the name of a byte or of the unknown token, "<0x41>" say,
/// must not become it. Where all its characters have pieces, `kNever` sees to that. Characters that
/// are in no piece, and so become bytes anyhow, are cut out of the text, so that no name is whole.
Json without_names(const TokenizerTable& table) {
  std::string in_names = "<>0123456789ABCDEFx";
  if (table.unknown) in_names += table.pieces[*table.unknown].text;
  std::string cut;
  for (const char c : in_names) {
    const bool is_plain = c == '<' || c == '>' || std::isalnum(static_cast<unsigned char>(c)) != 0;
    const bool is_in_text = std::ranges::any_of(table.pieces, [&](const Piece& piece) {
      return piece.type == PieceType::kNormal && piece.text.find(c) != std::string::npos;
    });
    if (is_plain && !is_in_text && cut.find(c) == std::string::npos) cut += c;
  }
  if (cut.empty()) return {};
  return {{"type", "Split"},
          {"pattern", {{"Regex", "[" + cut + "]"}}},
          {"behavior", "Isolated"},
          {"invert", false}};
}

}  // namespace

Json tokenizer_json(const TokenizerTable& table, const std::string& name) {
  if (!table.normaliser.empty()) {
    fail(
        "{} has a tokenizer that changes text before it is cut into pieces, which can't be written "
        "as tokenizer.json",
        name);
  }
  Json decoders = Json::array();
  if (!table.space_is_byte) decoders.push_back(replace(kSpace, " "));
  decoders.push_back({{"type", "ByteFallback"}});
  decoders.push_back({{"type", "Fuse"}});
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", added_tokens(table.pieces)},
          {"normalizer", table.space_is_byte ? Json() : replace(" ", kSpace)},
          {"pre_tokenizer", table.method == Method::kUnigram ? without_names(table) : Json()},
          {"post_processor", nullptr},
          {"decoder", {{"type", "Sequence"}, {"decoders", std::move(decoders)}}},
          {"model", table.method == Method::kUnigram ? unigram_model(table) : bpe_model(table)}};
}

bool is_bytes_tokenizer(const Json& json) {
  static const Json ours = tokenizer_json(tokenizer_table("bytes", "", ""), "");
  return json == ours;
}

}  // namespace cllm::io
