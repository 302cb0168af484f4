#include "tokenizer_table.h"

#include <algorithm>

#include "cllm/base/error.h"
#include "cllm/data/tokenizer.h"

namespace cllm::io {
namespace {

constexpr int kBytes = 256;

std::optional<std::size_t> find_control(const std::vector<Piece>& pieces,
                                        std::initializer_list<std::string_view> names) {
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    const bool is_known = std::ranges::find(names, pieces[i].text) != names.end();
    if (pieces[i].type == PieceType::kControl && is_known) return i;
  }
  return std::nullopt;
}

void find_ends(TokenizerTable& table) {
  table.beginning = find_control(table.pieces, {"<s>", "<|startoftext|>", "<|begin_of_text|>"});
  table.end = find_control(table.pieces, {"</s>", "<|endoftext|>", "<|end_of_text|>"});
}

}  // namespace

std::vector<std::size_t> TokenizerTable::byte_tokens() const {
  std::vector<std::size_t> tokens(kBytes, pieces.size());
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    if (pieces[i].type != PieceType::kByte) continue;
    if (const int byte = byte_of_piece(pieces[i].text); byte >= 0) {
      tokens[static_cast<std::size_t>(byte)] = i;
    }
  }
  if (std::ranges::find(tokens, pieces.size()) != tokens.end()) return {};
  return tokens;
}

TokenizerTable tokenizer_table(const std::string& kind, const std::string& blob,
                               const std::string& name) {
  TokenizerTable table;
  if (kind == "bytes") {
    for (int byte = 0; byte < kBytes; ++byte) {
      table.pieces.push_back({piece_of_byte(byte), 0, PieceType::kByte});
    }
    table.space_is_byte = true;
    return table;
  }
  if (kind.empty()) fail("{} has no tokenizer, which the format needs", name);
  if (kind == data::kByteLevelKind) {
    table.method = TokenizerTable::Method::kByteLevel;
    table.byte_level = data::byte_level_tables(blob, name);
    for (const data::ByteLevelTables::Token& token : table.byte_level.tokens) {
      const PieceType type = token.is_special ? PieceType::kControl
                             : token.is_added ? PieceType::kUserDefined
                                              : PieceType::kNormal;
      table.pieces.push_back({token.text, 0, type});
    }
    find_ends(table);
    return table;
  }
  if (!kind.starts_with("sentencepiece")) {
    fail("{} has a tokenizer of the kind {}, which can't be written in this format", name, kind);
  }
  SentencePieceModel model = parse_sentencepiece(blob, name + ": its tokenizer");
  using Type = SentencePieceModel::Type;
  if (model.type != Type::kBpe && model.type != Type::kUnigram) {
    fail("{} has a SentencePiece tokenizer of words or characters; bpe and unigram can be written",
         name);
  }
  table.method =
      model.type == Type::kBpe ? TokenizerTable::Method::kBpe : TokenizerTable::Method::kUnigram;
  table.pieces = std::move(model.pieces);
  table.normaliser = std::move(model.normaliser);
  const auto tokenizer = data::make_tokenizer(kind, blob);
  const std::vector<std::uint32_t> space = tokenizer->encode(" ");
  table.space_is_byte =
      space.size() == 1 && table.pieces.at(space.front()).type == PieceType::kByte;
  // Of old checkpoints: Note [Spaces] in data/sentencepiece_tokenizer.cc.
  if (space.size() == 3 && table.pieces.at(space.front()).type == PieceType::kByte) {
    fail("{} has a tokenizer that writes a space as three bytes, as no other program does", name);
  }
  const auto unknown = std::ranges::find(table.pieces, PieceType::kUnknown, &Piece::type);
  if (unknown != table.pieces.end()) {
    table.unknown = static_cast<std::size_t>(unknown - table.pieces.begin());
  }
  find_ends(table);
  return table;
}

SentencePieceModel sentencepiece_of(const TokenizerTable& table) {
  return {.type = table.method == TokenizerTable::Method::kBpe ? SentencePieceModel::Type::kBpe
                                                               : SentencePieceModel::Type::kUnigram,
          .pieces = table.pieces,
          .byte_fallback = !table.byte_tokens().empty(),
          .normaliser = table.normaliser};
}

}  // namespace cllm::io
