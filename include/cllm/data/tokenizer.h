#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace cllm::data {

/// Tokens of a text, and how many of its bytes they don't give back.
struct Encoding {
  std::vector<std::uint32_t> tokens = {};
  std::uint64_t lost_bytes = 0;
};

/// Turns text, that is any bytes, into tokens and back. A token stands for a fixed string of bytes,
/// which need not be whole characters, so decoding is concatenation and can be streamed.
/// All const members are thread-safe.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  /// `make_tokenizer(kind(), blob())` makes the same tokenizer again; a checkpoint stores both.
  virtual std::string kind() const = 0;
  virtual std::string blob() const = 0;

  /// True where decode(encode(s)) == s for any bytes s. A foreign SentencePiece model may lack byte
  /// pieces or normalise its input; this is found by a probe over the Basic Multilingual Plane, so
  /// it costs milliseconds.
  virtual bool lossless() const = 0;

  /// A token in printable form, for people.
  virtual std::string piece(std::uint32_t token) const = 0;

  /// The tokens of any bytes; see Note [Chunks].
  std::vector<std::uint32_t> encode(std::string_view text) const {
    return encode_counting(text).tokens;
  }
  /// The same, and the bytes of characters for which there is no token, or which the tokenizer
  /// normalises, so that they come back as others: `decode` gives `text` where there are none.
  Encoding encode_counting(std::string_view text) const;
  /// The same, but the names of special tokens become those tokens, the longest where two begin at
  /// one place: for text that a person wrote with that in mind, never for data.
  Encoding encode_with_specials(std::string_view text) const;

  /// The number of different tokens, V.
  std::uint32_t vocabulary() const { return static_cast<std::uint32_t>(bytes_.size()); }
  /// The bytes that a token stands for. Throws Error when token >= vocabulary().
  std::string_view token_bytes(std::uint32_t token) const;
  /// The concatenation of the tokens' bytes.
  std::string decode(std::span<const std::uint32_t> tokens) const;
  /// Tokens that no text becomes unless asked, such as "<|endoftext|>", by name. They mark what
  /// text is, and stand for no bytes.
  using Specials = std::map<std::string, std::uint32_t, std::less<>>;
  const Specials& specials() const { return specials_; }
  /// The special token behind each document; none where the tokenizer has none of the usual names.
  std::optional<std::uint32_t> end_of_text() const;

  /// The length in bytes of the first chunk of a non-empty text; see Note [Chunks].
  virtual std::size_t chunk_length(std::string_view text) const;
  /// `tokenizer_digest` of kind and blob: equal digests mean equal tokens.
  std::string digest() const;

 protected:
  explicit Tokenizer(std::vector<std::string> bytes, Specials specials = {})
      : bytes_(std::move(bytes)), specials_(std::move(specials)) {}
  /// Appends the tokens of one chunk.
  virtual void encode_chunk(std::string_view chunk, std::vector<std::uint32_t>& out) const = 0;
  /// The bytes of a chunk that its tokens don't give back; all, unless overridden, where any.
  virtual std::size_t count_lost(std::string_view chunk,
                                 std::span<const std::uint32_t> tokens) const;
  /// Whether decode(tokens) == text. All tokens must be below vocabulary().
  bool gives_back(std::span<const std::uint32_t> tokens, std::string_view text) const;

 private:
  std::vector<std::string> bytes_;  // of each token
  Specials specials_;
};

/// Says that the tokens don't give back `lost` of `all` bytes of a text: a clause.
std::string lost_text(std::uint64_t lost, std::uint64_t all);

/// Note [Chunks]. Text is encoded chunk by chunk, and the tokens of a text are by definition those
/// of its chunks, one after the other; so text can be encoded in parallel, with the same tokens.
/// Byte-level BPE cuts where its tokens are those of the whole text anyway (Note [Cuts]), at 32 KiB
/// or behind. For all others a chunk is a line with the newlines that follow it; where a line is
/// longer than kMaxChunk, it ends before the last space of its first kMaxChunk bytes, or, without
/// one, between characters. Pieces that we train contain no newline and a space only in front, so
/// no piece is lost by this.
inline constexpr std::size_t kMaxChunk = 16384;

/// `encode_counting` in `threads` threads, handing over the tokens in order, some MiB of text at a
/// time. `sink(tokens, bytes)` is called on the caller's thread, with the bytes of text they came
/// from. Returns the bytes that the tokens don't give back.
std::uint64_t encode_parallel(
    const Tokenizer& tokenizer, std::string_view text, int threads,
    const std::function<void(std::span<const std::uint32_t> tokens, std::size_t bytes)>& sink);

/// The special tokens that a new tokenizer gets.
enum class SpecialTokens {
  kEndOfText,  ///< <|endoftext|>
  kChatMl      ///< that and ChatML's <|im_start|> and <|im_end|>
};

/// What `--tokenizer` and `--special-tokens` say.
struct TokenizerSpec {
  enum class Kind { bytes, bpe, unigram, file };
  Kind kind = Kind::bytes;
  std::uint32_t vocabulary = 0;     ///< of bpe and unigram
  std::filesystem::path file = {};  ///< of file: a SentencePiece model, a tokenizer.json, …
  SpecialTokens specials = SpecialTokens::kEndOfText;  ///< of bpe and unigram

  bool is_trained() const { return kind == Kind::bpe || kind == Kind::unigram; }
  bool operator==(const TokenizerSpec&) const = default;
};

/// Whether `--tokenizer` names a file or directory by this: it ends in ".model" or ".json", has a
/// slash (a run that goes on may name a directory that is gone), or is a directory.
bool names_tokenizer_file(std::string_view text);

/// Reads "bytes", "bpe:4096", "unigram:8000", or the path of a SentencePiece model ("*.model"), of
/// a tokenizer.json, of a vocab.json beside its merges.txt, or of a directory that holds one of
/// these. Throws Error that names the option, also where `specials` are asked of one that is not
/// trained now.
TokenizerSpec parse_tokenizer_spec(std::string_view text,
                                   SpecialTokens specials = SpecialTokens::kEndOfText);
/// What `parse_tokenizer_spec` reads as text.
std::string to_string(const TokenizerSpec& spec);

/// The most text that a tokenizer is trained on; of a longer text, blocks evenly spread over it.
inline constexpr std::size_t kMaxTrainingText = std::size_t{64} << 20;

/// Makes, trains (on `training_text`, deterministically) or loads the tokenizer of `spec`. Throws
/// Error with the numbers to use when the vocabulary does not suit the text, or when the file is no
/// tokenizer that is known here.
std::unique_ptr<Tokenizer> build_tokenizer(const TokenizerSpec& spec,
                                           std::string_view training_text);

/// XXH3-128 of a tokenizer's kind, a zero byte and its blob.
std::string tokenizer_digest(std::string_view kind, std::string_view blob);

/// The tokenizer that `kind()` and `blob()` came from. Throws Error when they are of no tokenizer.
std::unique_ptr<Tokenizer> make_tokenizer(std::string_view kind, std::string_view blob);

}  // namespace cllm::data
