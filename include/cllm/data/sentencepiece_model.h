#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace cllm::data {

/// What a piece is for; the numbers are those of SentencePiece's sentencepiece_model.proto, which
/// GGUF has too.
enum class PieceType : std::uint32_t {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6
};

struct Piece {
  std::string text;  ///< with U+2581 for a space
  float score = 0;
  PieceType type = PieceType::kNormal;
};

/// What is in a SentencePiece model and not to be had from the library's interface.
struct SentencePieceModel {
  enum class Type : std::uint32_t { kUnigram = 1, kBpe = 2, kWord = 3, kChar = 4 };
  Type type = Type::kUnigram;
  std::vector<Piece> pieces;
  bool byte_fallback = false;
  std::string normaliser;  ///< its compiled rules; empty where text stays as it is
};

/// Reads a serialised ModelProto. Throws Error where it is none; `name` names it in the message.
SentencePieceModel parse_sentencepiece(std::string_view blob, const std::string& name);

/// A ModelProto of such pieces, whose text stays as it is, without a space in front.
std::string serialise_sentencepiece(const SentencePieceModel& model);

/// The byte that "<0x0A>" stands for; -1 where it is no such text.
int byte_of_piece(std::string_view text);
/// The reverse.
std::string piece_of_byte(int byte);

}  // namespace cllm::data
