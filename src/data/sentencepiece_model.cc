#include "cllm/data/sentencepiece_model.h"

#include <fmt/format.h>

#include <bit>
#include <charconv>
#include <cstring>
#include <limits>

#include "cllm/base/error.h"

namespace cllm::data {
namespace {

// Note [Wire format]. Protocol buffers are fields one after another: a varint of number * 8 + kind,
// then a varint (kind 0), eight bytes (1), a length and as many bytes (2), or four bytes (5). The
// numbers are those of sentencepiece_model.proto. Debian has the library without its generated
// header.
enum Kind : std::uint32_t { kVarint = 0, kEight = 1, kBytes = 2, kFour = 5 };

struct Field {
  std::uint32_t number = 0;
  std::uint32_t kind = kVarint;
  std::uint64_t value = 0;  // of a varint, and of four bytes
  std::string_view bytes = {};
};

class WireReader {
 public:
  WireReader(std::string_view text, const std::string& name) : rest_(text), name_(name) {}

  bool next(Field& field) {
    if (rest_.empty()) return false;
    const std::uint64_t key = varint();
    if (key > std::numeric_limits<std::uint32_t>::max()) refuse();
    field = {.number = static_cast<std::uint32_t>(key >> 3),
             .kind = static_cast<std::uint32_t>(key & 7)};
    switch (field.kind) {
      case kVarint:
        field.value = varint();
        break;
      case kEight:
        take(8);
        break;
      case kBytes:
        field.bytes = take(varint());
        break;
      case kFour: {
        std::uint32_t bits = 0;
        std::memcpy(&bits, take(4).data(), sizeof(bits));
        field.value = bits;
        break;
      }
      default:
        refuse();
    }
    return true;
  }

 private:
  [[noreturn]] void refuse() const { fail("{} is no SentencePiece model, or is corrupt", name_); }

  std::string_view take(std::uint64_t length) {
    if (length > rest_.size()) refuse();
    const std::string_view taken = rest_.substr(0, length);
    rest_.remove_prefix(length);
    return taken;
  }

  std::uint64_t varint() {
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      const auto byte = static_cast<unsigned char>(take(1)[0]);
      value |= static_cast<std::uint64_t>(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    refuse();
  }

  std::string_view rest_;
  const std::string& name_;
};

Piece parse_piece(std::string_view text, const std::string& name) {
  Piece piece;
  WireReader reader(text, name);
  for (Field field; reader.next(field);) {
    if (field.number == 1) piece.text = field.bytes;
    if (field.number == 2 && field.kind == kFour) {
      piece.score = std::bit_cast<float>(static_cast<std::uint32_t>(field.value));
    }
    if (field.number == 3) {
      if (field.value < 1 || field.value > 6) {
        fail("{} has a piece of the unknown type {}", name, field.value);
      }
      piece.type = static_cast<PieceType>(field.value);
    }
  }
  return piece;
}

void append_varint(std::string& out, std::uint64_t value) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  out += static_cast<char>(value);
}

void append_number(std::string& out, std::uint32_t number, std::uint64_t value) {
  append_varint(out, number << 3 | kVarint);
  append_varint(out, value);
}

void append_bytes(std::string& out, std::uint32_t number, std::string_view bytes) {
  append_varint(out, number << 3 | kBytes);
  append_varint(out, bytes.size());
  out += bytes;
}

}  // namespace

SentencePieceModel parse_sentencepiece(std::string_view blob, const std::string& name) {
  SentencePieceModel model;
  WireReader reader(blob, name);
  for (Field field; reader.next(field);) {
    Field inner;
    if (field.number == 1 && field.kind == kBytes) {
      model.pieces.push_back(parse_piece(field.bytes, name));
    } else if (field.number == 2 && field.kind == kBytes) {
      for (WireReader trainer(field.bytes, name); trainer.next(inner);) {
        if (inner.number == 3) {
          if (inner.value < 1 || inner.value > 4) {
            fail("{} is of the unknown type {}", name, inner.value);
          }
          model.type = static_cast<SentencePieceModel::Type>(inner.value);
        }
        if (inner.number == 35) model.byte_fallback = inner.value != 0;
      }
    } else if (field.number == 3 && field.kind == kBytes) {
      for (WireReader normaliser(field.bytes, name); normaliser.next(inner);) {
        if (inner.number == 2 && inner.kind == kBytes) model.normaliser = inner.bytes;
      }
    }
  }
  if (model.pieces.empty())
    fail("{} is no SentencePiece model, or is corrupt: it has no pieces", name);
  return model;
}

std::string serialise_sentencepiece(const SentencePieceModel& model) {
  std::string blob;
  for (const Piece& piece : model.pieces) {
    std::string text;
    append_bytes(text, 1, piece.text);
    append_varint(text, 2 << 3 | kFour);
    const auto bits = std::bit_cast<std::uint32_t>(piece.score);
    text.append(reinterpret_cast<const char*>(&bits), sizeof(bits));
    append_number(text, 3, static_cast<std::uint64_t>(piece.type));
    append_bytes(blob, 1, text);
  }
  std::string trainer;
  append_number(trainer, 3, static_cast<std::uint64_t>(model.type));
  append_number(trainer, 35, model.byte_fallback ? 1 : 0);
  append_bytes(blob, 2, trainer);
  std::string normaliser;
  append_bytes(normaliser, 1, "identity");
  append_bytes(normaliser, 2, model.normaliser);
  append_number(normaliser, 3, 0);  // add_dummy_prefix
  append_number(normaliser, 4, 0);  // remove_extra_whitespaces
  append_number(normaliser, 5, 1);  // escape_whitespaces
  append_bytes(blob, 3, normaliser);
  return blob;
}

int byte_of_piece(std::string_view text) {
  if (text.size() != 6 || !text.starts_with("<0x") || text.back() != '>') return -1;
  int byte = -1;
  const auto [end, error] = std::from_chars(text.data() + 3, text.data() + 5, byte, 16);
  return error == std::errc() && end == text.data() + 5 ? byte : -1;
}

std::string piece_of_byte(int byte) { return fmt::format("<0x{:02X}>", byte); }

}  // namespace cllm::data
