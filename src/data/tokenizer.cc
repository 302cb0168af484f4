#include "cllm/data/tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "byte_level_tokenizer.h"
#include "cllm/base/digest.h"
#include "cllm/base/error.h"
#include "cllm/base/file.h"
#include "cllm/base/utf8.h"
#include "sentencepiece_tokenizer.h"
#include "tokenizer_files.h"

namespace cllm::data {
namespace {

// What a trained model holds beside its pieces: 256 bytes, the newline, <unk> and <|endoftext|>.
constexpr std::uint32_t kMinVocabulary = 260;
constexpr std::uint32_t kMaxVocabulary = 1'000'000;

/// One token for each byte value.
class ByteTokenizer final : public Tokenizer {
 public:
  ByteTokenizer() : Tokenizer(all_bytes()) {}
  std::string kind() const override { return "bytes"; }
  std::string blob() const override { return {}; }
  bool lossless() const override { return true; }
  std::string piece(std::uint32_t token) const override {
    const char byte = token_bytes(token)[0];
    const bool printable = byte > ' ' && byte <= '~';
    return printable ? std::string(1, byte) : fmt::format("<0x{:02X}>", token);
  }

 protected:
  void encode_chunk(std::string_view chunk, std::vector<std::uint32_t>& out) const override {
    for (const char byte : chunk) out.push_back(static_cast<unsigned char>(byte));
  }
  std::size_t count_lost(std::string_view, std::span<const std::uint32_t>) const override {
    return 0;
  }

 private:
  static std::vector<std::string> all_bytes() {
    std::vector<std::string> bytes;
    for (int value = 0; value < 256; ++value) bytes.emplace_back(1, static_cast<char>(value));
    return bytes;
  }
};

}  // namespace

std::size_t Tokenizer::chunk_length(std::string_view text) const {
  const std::string_view window = text.substr(0, kMaxChunk);
  const std::size_t newline = window.find('\n');
  if (newline != window.npos)
    return std::min(window.find_first_not_of('\n', newline), window.size());
  if (window.size() == text.size()) return text.size();
  const std::size_t space = window.rfind(' ');
  if (space != window.npos && space > 0) return space;
  return utf8_boundary(text, window.size());
}

Encoding Tokenizer::encode_counting(std::string_view text) const {
  Encoding result;
  while (!text.empty()) {
    const std::string_view chunk = text.substr(0, chunk_length(text));
    const std::size_t before = result.tokens.size();
    encode_chunk(chunk, result.tokens);
    result.lost_bytes += count_lost(chunk, std::span(result.tokens).subspan(before));
    text.remove_prefix(chunk.size());
  }
  return result;
}

Encoding Tokenizer::encode_with_specials(std::string_view text) const {
  Encoding result;
  const auto add = [&](std::string_view plain) {
    const Encoding more = encode_counting(plain);
    result.tokens.insert(result.tokens.end(), more.tokens.begin(), more.tokens.end());
    result.lost_bytes += more.lost_bytes;
  };
  for (std::size_t at = 0; at < text.size();) {
    const Specials::value_type* longest = nullptr;
    for (const auto& special : specials_) {
      const bool is_here = text.substr(at).starts_with(special.first);
      if (is_here && (!longest || special.first.size() > longest->first.size())) longest = &special;
    }
    if (longest == nullptr) {
      ++at;
      continue;
    }
    add(text.substr(0, at));
    result.tokens.push_back(longest->second);
    text.remove_prefix(at + longest->first.size());
    at = 0;
  }
  add(text);
  return result;
}

std::optional<std::uint32_t> Tokenizer::end_of_text() const {
  for (const std::string_view name : {"<|endoftext|>", "<|end_of_text|>", "</s>"}) {
    if (const auto found = specials_.find(name); found != specials_.end()) return found->second;
  }
  return {};
}

std::size_t Tokenizer::count_lost(std::string_view chunk,
                                  std::span<const std::uint32_t> tokens) const {
  return gives_back(tokens, chunk) ? 0 : chunk.size();
}

bool Tokenizer::gives_back(std::span<const std::uint32_t> tokens, std::string_view text) const {
  for (const std::uint32_t token : tokens) {
    if (!text.starts_with(bytes_[token])) return false;
    text.remove_prefix(bytes_[token].size());
  }
  return text.empty();
}

std::string_view Tokenizer::token_bytes(std::uint32_t token) const {
  if (token >= vocabulary()) {
    fail("token {} is outside the tokenizer's vocabulary of {}", token, vocabulary());
  }
  return bytes_[token];
}

std::string Tokenizer::decode(std::span<const std::uint32_t> tokens) const {
  std::string text;
  for (const std::uint32_t token : tokens) text += token_bytes(token);
  return text;
}

std::string lost_text(std::uint64_t lost, std::uint64_t all) {
  return fmt::format(
      "the tokenizer has no tokens for {} of {} bytes, which come back as other text", lost, all);
}

std::string Tokenizer::digest() const { return tokenizer_digest(kind(), blob()); }

std::string tokenizer_digest(std::string_view kind, std::string_view blob) {
  Digest digest;
  digest.update(kind);
  digest.update(std::string_view("\0", 1));  // keeps kind and blob apart
  digest.update(blob);
  return digest.hex();
}

bool names_tokenizer_file(std::string_view text) {
  std::error_code unknown;
  return text.ends_with(".model") || text.ends_with(".json") || text.find('/') != text.npos ||
         std::filesystem::is_directory(text, unknown);
}

namespace {

TokenizerSpec parse_kind(std::string_view text) {
  using Kind = TokenizerSpec::Kind;
  if (text == "bytes") return {};
  for (const auto& [prefix, kind] :
       {std::pair<std::string_view, Kind>{"bpe:", Kind::bpe}, {"unigram:", Kind::unigram}}) {
    if (!text.starts_with(prefix)) continue;
    const std::string_view number = text.substr(prefix.size());
    std::uint32_t size = 0;
    const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), size);
    if (error != std::errc() || end != number.data() + number.size() || size < kMinVocabulary ||
        size > kMaxVocabulary) {
      fail("--tokenizer {}: give a vocabulary between {} and {} after the colon, like {}4096", text,
           kMinVocabulary, kMaxVocabulary, prefix);
    }
    return {.kind = kind, .vocabulary = size};
  }
  if (names_tokenizer_file(text)) return {.kind = Kind::file, .file = std::filesystem::path(text)};
  fail(
      "--tokenizer {}: give bytes, bpe:N, unigram:N, or the path of a tokenizer.json, a "
      "SentencePiece FILE.model, or a directory with one",
      text);
}

}  // namespace

TokenizerSpec parse_tokenizer_spec(std::string_view text, SpecialTokens specials) {
  TokenizerSpec spec = parse_kind(text);
  if (specials != SpecialTokens::kEndOfText && !spec.is_trained()) {
    fail(
        "--special-tokens: --tokenizer {} has the tokens that it has; only a new one, bpe:N or "
        "unigram:N, can be given some",
        text);
  }
  spec.specials = specials;
  return spec;
}

std::string to_string(const TokenizerSpec& spec) {
  switch (spec.kind) {
    case TokenizerSpec::Kind::bytes:
      return "bytes";
    case TokenizerSpec::Kind::bpe:
      return fmt::format("bpe:{}", spec.vocabulary);
    case TokenizerSpec::Kind::unigram:
      return fmt::format("unigram:{}", spec.vocabulary);
    case TokenizerSpec::Kind::file:
      return spec.file.string();
  }
  fail("unknown kind of tokenizer");
}

namespace {

std::unique_ptr<Tokenizer> load_tokenizer(const std::filesystem::path& file) {
  const std::string name = file.string();
  if (file.extension() == ".json") return make_byte_level(read_tokenizer_json(file), name);
  return make_sentencepiece(read_file(file), name);
}

}  // namespace

std::unique_ptr<Tokenizer> build_tokenizer(const TokenizerSpec& spec,
                                           std::string_view training_text) {
  switch (spec.kind) {
    case TokenizerSpec::Kind::bytes:
      return std::make_unique<ByteTokenizer>();
    case TokenizerSpec::Kind::bpe:
    case TokenizerSpec::Kind::unigram:
      return make_sentencepiece(train_sentencepiece(spec, training_text), to_string(spec));
    case TokenizerSpec::Kind::file:
      return load_tokenizer(find_tokenizer_file(spec.file));
  }
  fail("unknown kind of tokenizer");
}

std::unique_ptr<Tokenizer> make_tokenizer(std::string_view kind, std::string_view blob) {
  if (kind == "bytes" && blob.empty()) return std::make_unique<ByteTokenizer>();
  if (kind == kByteLevelKind) return make_byte_level(blob, "the stored tokenizer");
  if (is_sentencepiece_kind(kind)) return make_sentencepiece(blob, "the stored tokenizer", kind);
  fail(
      "the stored tokenizer is of the unknown kind '{}': it was made by a newer version or is "
      "corrupt",
      kind);
}

}  // namespace cllm::data
