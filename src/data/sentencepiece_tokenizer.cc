#include "sentencepiece_tokenizer.h"

#include <sentencepiece_processor.h>
#include <sentencepiece_trainer.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <unordered_map>

#include "cllm/base/error.h"
#include "cllm/base/utf8.h"
#include "cllm/data/sentencepiece_model.h"
#include "normalisation_rules.h"

namespace cllm::data {
namespace {

// How SentencePiece writes a space; in text, this character itself must not reach it.
constexpr std::string_view kSpace = "\u2581";
// SentencePiece skips training sentences that hold this one, which stands for unknown characters.
constexpr std::string_view kUnknown = "\u2585";

std::string with_spaces(std::string piece) {
  for (std::size_t at = 0; (at = piece.find(kSpace, at)) != piece.npos; ++at) {
    piece.replace(at, kSpace.size(), 1, ' ');
  }
  return piece;
}

/// Note [Spaces]. A model that never saw a space has no piece for one, and SentencePiece falls back
/// on the bytes of U+2581, which is how it writes a space: they would come back as that character.
/// Such a space is byte 0x20 here. Tokens of before have the three bytes; the kind of a tokenizer,
/// which is stored with its tokens, says which it makes, so that old runs and files go on as they
/// were. A model that has the piece makes the same tokens either way, and is of the first kind.
constexpr std::string_view kSentencePieceKind = "sentencepiece";
constexpr std::string_view kSpaceIsByteKind = "sentencepiece-space-byte";

class SentencePieceTokenizer final : public Tokenizer {
 public:
  SentencePieceTokenizer(std::unique_ptr<sentencepiece::SentencePieceProcessor> processor,
                         std::string blob, std::string_view kind, std::string_view name)
      : Tokenizer(bytes_of_pieces(*processor), controls(*processor)),
        processor_(std::move(processor)),
        blob_(std::move(blob)),
        name_(name) {
    std::size_t found = 0;
    for (int id = 0; id < processor_->GetPieceSize(); ++id) {
      if (!processor_->IsByte(id)) continue;
      const auto byte = static_cast<unsigned char>(token_bytes(static_cast<std::uint32_t>(id))[0]);
      byte_tokens_[byte] = static_cast<std::uint32_t>(id);
      ++found;
    }
    has_bytes_ = found == byte_tokens_.size();
    std::ranges::transform(kSpace, written_space_.begin(),
                           [&](char byte) { return byte_token(byte); });
    std::vector<std::uint32_t> space;
    if (has_bytes_) encode_clean(" ", space);
    space_is_byte_ = kind != kSentencePieceKind && std::ranges::equal(space, written_space_);
  }

  std::string kind() const override {
    return std::string(space_is_byte_ ? kSpaceIsByteKind : kSentencePieceKind);
  }
  std::string blob() const override { return blob_; }

  bool lossless() const override {
    // Doubled and outer spaces, what composes and decomposes, and every character of the plane.
    std::string probe = "  a  b \t\r\n\n e\u0301 \u00e9 \ufb01 \u2460 \uff21 \U0001F600 ";
    for (unsigned code = 1; code < 0x10000; ++code) {
      if (code >= 0xD800 && code < 0xE000) continue;
      if (code >= 0x800) {
        probe += static_cast<char>(0xE0 | code >> 12);
        probe += static_cast<char>(0x80 | (code >> 6 & 0x3F));
      } else if (code >= 0x80) {
        probe += static_cast<char>(0xC0 | code >> 6);
      }
      probe += static_cast<char>(code < 0x80 ? code : 0x80 | (code & 0x3F));
    }
    return has_bytes_ && decode(encode(probe)) == probe;
  }

  std::string piece(std::uint32_t token) const override {
    const std::string text(token_bytes(token));
    return text == "\n" ? "<0x0A>" : processor_->IdToPiece(static_cast<int>(token));
  }

 protected:
  /// What SentencePiece would replace (bytes that are no UTF-8) or mistake (U+2581) goes round it,
  /// as byte tokens.
  void encode_chunk(std::string_view chunk, std::vector<std::uint32_t>& out) const override {
    for_each_part(
        chunk, [&](std::string_view clean) { encode_clean(clean, out); },
        [&](std::string_view odd) {
          for (const char byte : odd) out.push_back(byte_token(byte));
        });
  }

  /// What pieces stand for is compared with the text that SentencePiece says they came from.
  std::size_t count_lost(std::string_view chunk,
                         std::span<const std::uint32_t> tokens) const override {
    if (gives_back(tokens, chunk)) return 0;
    std::size_t lost = 0;
    for_each_part(
        chunk, [&](std::string_view clean) { lost += count_lost_clean(clean); },
        [](std::string_view) {});
    return lost;
  }

 private:
  static std::vector<std::string> bytes_of_pieces(
      const sentencepiece::SentencePieceProcessor& processor) {
    std::vector<std::string> bytes;
    for (int id = 0; id < processor.GetPieceSize(); ++id) {
      const std::string& piece = processor.IdToPiece(id);
      if (processor.IsByte(id)) {  // "<0x0A>"
        int value = 0;
        std::from_chars(piece.data() + 3, piece.data() + 5, value, 16);
        bytes.emplace_back(1, static_cast<char>(value));
      } else if (processor.IsControl(id)) {
        bytes.emplace_back();
      } else if (processor.IsUnknown(id)) {
        bytes.emplace_back(" \u2047 ");  // what SentencePiece itself decodes <unk> to
      } else {
        bytes.push_back(with_spaces(piece));
      }
    }
    return bytes;
  }

  static Specials controls(const sentencepiece::SentencePieceProcessor& processor) {
    Specials specials;
    for (int id = 0; id < processor.GetPieceSize(); ++id) {
      if (!processor.IsControl(id)) continue;
      specials.emplace(processor.IdToPiece(id), static_cast<std::uint32_t>(id));
    }
    return specials;
  }

  /// Cuts a chunk into what SentencePiece takes as it is and the odd characters between.
  template <typename Clean, typename Odd>
  void for_each_part(std::string_view chunk, const Clean& take_clean, const Odd& take_odd) const {
    std::size_t clean = 0;  // bytes at the front that SentencePiece takes as they are
    while (has_bytes_ && clean < chunk.size()) {
      const std::size_t length = utf8_length(chunk.substr(clean));
      const bool is_clean = length > 0 && chunk.substr(clean, length) != kSpace;
      if (is_clean) {
        clean += length;
        continue;
      }
      take_clean(chunk.substr(0, clean));
      const std::size_t odd = std::max<std::size_t>(1, length);
      take_odd(chunk.substr(clean, odd));
      chunk.remove_prefix(clean + odd);
      clean = 0;
    }
    take_clean(chunk);
  }

  std::uint32_t byte_token(char byte) const {
    return byte_tokens_[static_cast<unsigned char>(byte)];
  }

  void encode_clean(std::string_view text, std::vector<std::uint32_t>& out) const {
    if (text.empty()) return;
    std::vector<int> ids;
    const auto status = processor_->Encode(text, &ids);
    if (!status.ok()) {
      fail("{}: SentencePiece cannot encode a text with it: {}", name_, status.error_message());
    }
    const std::size_t before = out.size();
    for (const int id : ids) out.push_back(static_cast<std::uint32_t>(id));
    if (space_is_byte_) mend_spaces(out, before);
  }

  /// Note [Spaces]. U+2581 itself goes round SentencePiece, and no other character has its bytes.
  void mend_spaces(std::vector<std::uint32_t>& tokens, std::size_t from) const {
    const auto& written = written_space_;
    std::size_t end = from;
    for (std::size_t at = from; at < tokens.size();) {
      const auto rest = std::span(tokens).subspan(at);
      const bool is_space =
          rest.size() >= written.size() && std::ranges::equal(rest.first(written.size()), written);
      tokens[end++] = is_space ? byte_token(' ') : tokens[at];
      at += is_space ? written.size() : 1;
    }
    tokens.resize(end);
  }

  std::size_t count_lost_clean(std::string_view text) const {
    if (text.empty()) return 0;
    std::size_t lost = 0, seen = 0;
    std::string bytes;  // of byte tokens, of which the last has all of the character's text
    const auto encoded = processor_->EncodeAsImmutableProto(text);
    for (const auto& piece : encoded.pieces()) {
      const std::string& surface = piece.surface();
      bytes += token_bytes(piece.id());
      if (surface.empty() && processor_->IsByte(static_cast<int>(piece.id()))) continue;
      const bool is_mended = space_is_byte_ && bytes == kSpace && surface == " ";
      if (bytes != surface && !is_mended) lost += surface.size();
      seen += surface.size();
      bytes.clear();
    }
    return lost + text.size() - std::min(seen, text.size());
  }

  std::unique_ptr<sentencepiece::SentencePieceProcessor> processor_;
  std::string blob_, name_;
  std::array<std::uint32_t, 256> byte_tokens_{};
  std::array<std::uint32_t, kSpace.size()> written_space_{};
  bool space_is_byte_ = false;
  bool has_bytes_ = false;
};

/// Hands a text to the trainer in pieces that it can take: lines, without what `encode_chunk` keeps
/// from the model, cut before the first space after kLine bytes, and within a word after kWord
/// bytes, for the BPE trainer's time grows with the square of a word's length, and at 2^16
/// characters it ends the process. Of a text above kMaxTrainingText, evenly spread blocks.
class TrainingSentences final : public sentencepiece::SentenceIterator {
 public:
  explicit TrainingSentences(std::string_view text) {
    const std::size_t blocks = text.size() <= kMaxTrainingText ? 1 : kMaxTrainingText / kBlock;
    const std::size_t length = blocks == 1 ? text.size() : kBlock;
    for (std::size_t block = 0; block < blocks; ++block) {
      blocks_.push_back(text.substr(text.size() / blocks * block, length));
    }
    Next();
  }

  bool done() const override { return sentence_.empty(); }
  const std::string& value() const override { return sentence_; }
  sentencepiece::util::Status status() const override { return {}; }

  void Next() override {
    sentence_.clear();
    std::size_t word = 0;  // bytes of sentence_ since its last space
    for (; block_ < blocks_.size(); ++block_) {
      std::string_view& rest = blocks_[block_];
      while (!rest.empty()) {
        const std::size_t length = utf8_length(rest);
        const std::string_view character = rest.substr(0, length);
        const bool taken = length > 0 && character != "\n" && character != kSpace &&
                           character != kUnknown && character[0] != '\0';
        if (taken) sentence_ += character;
        word = character == " " ? 0 : word + length;
        rest.remove_prefix(std::max<std::size_t>(1, length));
        const bool full = word >= kWord || (sentence_.size() >= kLine && rest.starts_with(' '));
        if (!sentence_.empty() && (!taken || full)) return;
      }
      if (!sentence_.empty()) return;
    }
  }

 private:
  static constexpr std::size_t kLine = 4096;
  static constexpr std::size_t kWord = 512;
  static constexpr std::size_t kBlock = std::size_t{64} << 10;

  std::vector<std::string_view> blocks_;  // what is still to be read of each
  std::size_t block_ = 0;
  std::string sentence_;
};

/// The integer that follows `mark` in a message.
std::optional<long> number_after(std::string_view message, std::string_view mark) {
  const std::size_t at = message.find(mark);
  if (at == message.npos) return {};
  const std::string_view rest = message.substr(at + mark.size());
  long number = 0;
  if (std::from_chars(rest.data(), rest.data() + rest.size(), number).ec != std::errc()) return {};
  return number;
}

}  // namespace

bool is_sentencepiece_kind(std::string_view kind) {
  return kind == kSentencePieceKind || kind == kSpaceIsByteKind;
}

std::string train_sentencepiece(const TokenizerSpec& spec, std::string_view text) {
  const std::string_view type = spec.kind == TokenizerSpec::Kind::bpe ? "bpe" : "unigram";
  const std::string option = "--tokenizer " + to_string(spec);
  TrainingSentences sentences(text);
  if (sentences.done()) fail("{}: there is no text to train the tokenizer on", option);

  const std::unordered_map<std::string, std::string> arguments = {
      {"model_type", std::string(type)},
      {"vocab_size", std::to_string(spec.vocabulary)},
      {"normalization_rule_name", "identity"},
      {"add_dummy_prefix", "false"},
      {"remove_extra_whitespaces", "false"},
      {"byte_fallback", "true"},
      {"character_coverage", "1.0"},
      {"user_defined_symbols", "\n"},
      {"control_symbols", spec.specials == SpecialTokens::kChatMl
                              ? "<|endoftext|>,<|im_start|>,<|im_end|>"
                              : "<|endoftext|>"},
      {"bos_id", "-1"},
      {"eos_id", "-1"},
      {"max_sentence_length", "1000000"},
      // The unigram trainer adds up per thread: another number gives other pieces.
      {"num_threads", "4"},
      {"minloglevel", "2"},
  };
  std::string blob;
  const auto status = sentencepiece::SentencePieceTrainer::Train(arguments, &sentences, &blob);
  if (status.ok()) return blob;
  const std::string_view message = status.error_message();
  if (const auto least = number_after(message, " vs ")) {
    fail("{} is too small for the different characters of this text: give at least {}:{}", option,
         type, *least);
  }
  if (const auto most = number_after(message, "value <= ")) {
    fail("{} is too large for this text: give at most {}:{}, or more text", option, type, *most);
  }
  fail("{}: SentencePiece could not train on this text: {}", option, message);
}

std::unique_ptr<Tokenizer> make_sentencepiece(std::string_view blob, std::string_view name,
                                              std::string_view kind) {
  // Some models put a space before each text and drop doubled ones: right for sentences, wrong for
  // chunks of a stream. In the wire format of protocol buffers a later occurrence of a message is
  // merged over an earlier one, so this switches both off without touching the rest of the model:
  // ModelProto.normalizer_spec (3) = {add_dummy_prefix (3): false, remove_extra_whitespaces (4):
  // false}.
  constexpr std::string_view kAsStream("\x1A\x04\x18\x00\x20\x00", 6);
  const std::string rules = parse_sentencepiece(blob, std::string(name)).normaliser;
  if (!rules.empty() && !are_sound_rules(rules)) {  // Note [Rules of normalisation]
    fail("{} is corrupt: what it says of normalisation leads nowhere", name);
  }
  auto processor = std::make_unique<sentencepiece::SentencePieceProcessor>();
  if (blob.empty() ||
      !processor->LoadFromSerializedProto(std::string(blob).append(kAsStream)).ok()) {
    fail("{} is no SentencePiece model, or is corrupt", name);
  }
  return std::make_unique<SentencePieceTokenizer>(std::move(processor), std::string(blob), kind,
                                                  name);
}

}  // namespace cllm::data
