#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "cllm/data/byte_level.h"
#include "cllm/data/sentencepiece_model.h"

namespace cllm::io {

using data::byte_of_piece;
using data::parse_sentencepiece;
using data::Piece;
using data::piece_of_byte;
using data::PieceType;
using data::SentencePieceModel;
using data::serialise_sentencepiece;

/// A tokenizer as tables, for other programs.
struct TokenizerTable {
  enum class Method {
    kBytes,     ///< a token for each byte
    kBpe,       ///< SentencePiece bpe: of neighbours, those merge whose piece has the best score
    kUnigram,   ///< SentencePiece unigram: the pieces with the largest sum of scores
    kByteLevel  ///< byte-level BPE, of which more is in `byte_level`
  };
  Method method = Method::kBytes;
  std::vector<Piece> pieces;  ///< by token
  data::ByteLevelTables byte_level;
  std::string normaliser;  ///< SentencePiece's compiled rules; empty where text stays as it is
  /// There is no piece for a space, which is written as its byte; else spaces become U+2581.
  bool space_is_byte = false;
  std::optional<std::size_t> unknown, beginning, end;  ///< tokens, where there are such

  /// What byte token i stands for has token byte_tokens[i]; empty unless all 256 are there.
  std::vector<std::size_t> byte_tokens() const;
};

/// Of a tokenizer as a checkpoint stores it. Throws Error that begins with `name`, where there is
/// none or it can't be written as tables.
TokenizerTable tokenizer_table(const std::string& kind, const std::string& blob,
                               const std::string& name);

/// The table of a SentencePiece model that is made of it. For kBpe and kUnigram.
SentencePieceModel sentencepiece_of(const TokenizerTable& table);

/// A tokenizer.json, as Hugging Face's tokenizers reads it; not of kByteLevel, whose blob is one.
/// Its tokens are ours for every text but one with U+2581, which SentencePiece has for a space.
/// Throws Error that begins with `name` where there is no such tokenizer.
nlohmann::json tokenizer_json(const TokenizerTable& table, const std::string& name);

/// Whether a tokenizer.json is what is written of the bytes tokenizer.
bool is_bytes_tokenizer(const nlohmann::json& json);

}  // namespace cllm::io
