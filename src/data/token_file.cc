#include "cllm/data/token_file.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <type_traits>

#include "cllm/base/digest.h"
#include "cllm/base/error.h"
#include "foreign_token_file.h"

namespace cllm::data {
namespace {

static_assert(std::endian::native == std::endian::little, "token files are little-endian");

constexpr std::array<char, 8> kMagic = {'C', 'L', 'L', 'M', 'T', 'O', 'K', '\n'};
constexpr std::uint32_t kVersion = 1;
constexpr std::size_t kDigestDigits = 32;

/// The first bytes of a token file, as they lie there; then come the tokens, the tokenizer's kind
/// and its blob, without gaps.
struct Header {
  std::array<char, 8> magic = kMagic;
  std::uint32_t version = kVersion;
  std::uint32_t token_bytes = 0;
  std::uint64_t tokens = 0;
  std::uint64_t vocabulary = 0;
  std::uint64_t source_bytes = 0;
  std::uint64_t kind_bytes = 0;
  std::uint64_t blob_bytes = 0;
  std::uint64_t header_digest = 0;  ///< 0 in files of before there was one
  std::array<char, kDigestDigits> token_digest{};
  std::array<char, kDigestDigits> tokenizer_digest{};
};
static_assert(sizeof(Header) == 128 && std::is_trivially_copyable_v<Header>);

std::array<char, kDigestDigits> digits(const std::string& hex) {
  std::array<char, kDigestDigits> array{};
  std::copy_n(hex.data(), kDigestDigits, array.data());
  return array;
}

/// The low half of the XXH3-128 of the header while its own digest is 0.
std::uint64_t digest_of(Header header) {
  header.header_digest = 0;
  const std::string hex = digest_hex(std::as_bytes(std::span(&header, 1)));
  return std::stoull(hex.substr(kDigestDigits / 2), nullptr, 16);
}

std::span<const std::byte> first_bytes(const std::filesystem::path& path,
                                       std::span<std::byte> buffer) {
  // Mapping reads nothing but what is looked at, and says clearly what can't be opened.
  const MappedFile file(path);
  const std::size_t count = std::min(buffer.size(), file.bytes().size());
  std::copy_n(file.bytes().data(), count, buffer.data());
  return buffer.first(count);
}

bool has_our_magic(std::span<const std::byte> file) {
  return file.size() >= kMagic.size() &&
         std::memcmp(file.data(), kMagic.data(), kMagic.size()) == 0;
}

template <typename Token>
void check_range(std::span<const Token> tokens, std::uint64_t vocabulary, const std::string& name) {
  Token largest = 0;  // a plain maximum vectorises; an early exit would not
  for (const Token token : tokens) largest = std::max(largest, token);
  if (largest < vocabulary) return;
  const auto bad =
      std::find_if(tokens.begin(), tokens.end(), [&](Token token) { return token >= vocabulary; });
  fail(
      "{} has token {} at position {}, outside its vocabulary of {}: it is corrupt, or of another "
      "format",
      name, *bad, bad - tokens.begin(), vocabulary);
}

TokenView view_of(std::span<const std::byte> bytes, std::size_t token_bytes,
                  std::uint64_t vocabulary, const std::string& name) {
  if (bytes.empty()) fail("{} holds no tokens", name);
  // The mapping begins on a page and every format's tokens on a multiple of their size.
  const void* first = bytes.data();
  const std::size_t count = bytes.size() / token_bytes;
  const TokenView view =
      token_bytes == 2 ? TokenView(std::span(static_cast<const std::uint16_t*>(first), count))
                       : TokenView(std::span(static_cast<const std::uint32_t*>(first), count));
  view.require_below(vocabulary, name);
  return view;
}

struct Parsed {
  TokenView tokens;
  TokenFileInfo info;
};

Parsed parse_ours(std::span<const std::byte> file, const std::string& name,
                  TokenFile::Check check) {
  Header header;
  if (file.size() < sizeof(header)) fail("{} is a token file that was cut short", name);
  std::memcpy(&header, file.data(), sizeof(header));
  if (header.version != kVersion) {
    fail(
        "{} is a token file of version {}, but this program knows version {}: make it anew with "
        "`cllm-dist tokenize`",
        name, header.version, kVersion);
  }
  const bool two = header.token_bytes == 2;
  if ((!two && header.token_bytes != 4) || header.vocabulary == 0 ||
      header.vocabulary > (two ? std::uint64_t{1} << 16 : std::uint64_t{1} << 32)) {
    fail("{} has a corrupt header: {} bytes per token, vocabulary {}", name, header.token_bytes,
         header.vocabulary);
  }
  // Each part against what is left, so that no sum can overflow.
  std::uint64_t rest = file.size() - sizeof(header);
  bool fits = header.tokens <= rest / header.token_bytes;
  if (fits) rest -= header.tokens * header.token_bytes;
  fits = fits && header.kind_bytes <= rest;
  if (fits) rest -= header.kind_bytes;
  if (!fits || header.blob_bytes != rest) {
    fail(
        "{} does not have the length that its header asks for ({} tokens of {} bytes): it was cut "
        "short or is corrupt",
        name, header.tokens, header.token_bytes);
  }

  const auto contents = file.subspan(sizeof(header));
  const auto token_part = contents.first(header.tokens * header.token_bytes);
  const auto text = [](std::span<const std::byte> bytes) {
    return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  };
  const auto kind = contents.subspan(token_part.size(), header.kind_bytes);
  const auto blob = contents.last(header.blob_bytes);
  TokenFileInfo info{
      .format = "cllm",
      .vocabulary = header.vocabulary,
      .source_bytes = header.source_bytes,
      .token_digest = std::string(header.token_digest.begin(), header.token_digest.end()),
      .tokenizer_digest =
          std::string(header.tokenizer_digest.begin(), header.tokenizer_digest.end()),
      .tokenizer_kind = text(kind),
      .tokenizer_blob = text(blob)};
  if (check == TokenFile::Check::digests) {
    if (header.header_digest != 0 && header.header_digest != digest_of(header)) {
      fail("{} is corrupt: its header does not have its own digest", name);
    }
    if (digest_hex(token_part) != info.token_digest) {
      fail("{} is corrupt: its tokens do not have the digest of its header", name);
    }
    if (tokenizer_digest(info.tokenizer_kind, info.tokenizer_blob) != info.tokenizer_digest) {
      fail("{} is corrupt: its tokenizer does not have the digest of its header", name);
    }
  }
  return {view_of(token_part, header.token_bytes, header.vocabulary, name), std::move(info)};
}

Parsed parse_nanogpt(std::span<const std::byte> file, const std::filesystem::path& path) {
  const std::string name = path.string();
  if (file.size() % 2 != 0) {
    fail(
        "{} has {} bytes, an odd number, so it is not nanoGPT's raw 16-bit tokens: it was cut "
        "short or is of another format",
        name, file.size());
  }
  const std::uint64_t vocabulary = nanogpt_vocabulary(path);
  return {view_of(file, 2, vocabulary, name), {.format = "nanoGPT", .vocabulary = vocabulary}};
}

}  // namespace

std::size_t TokenView::size() const {
  return std::visit([](auto tokens) { return tokens.size(); }, tokens_);
}

std::uint32_t TokenView::operator[](std::size_t i) const {
  return std::visit([i](auto tokens) -> std::uint32_t { return tokens[i]; }, tokens_);
}

void TokenView::copy(std::size_t offset, std::size_t count, std::uint32_t* out) const {
  std::visit([&](auto tokens) { std::copy_n(tokens.data() + offset, count, out); }, tokens_);
}

TokenView TokenView::subview(std::size_t offset, std::size_t count) const {
  return std::visit([&](auto tokens) { return TokenView(tokens.subspan(offset, count)); }, tokens_);
}

void TokenView::require_below(std::uint64_t vocabulary, const std::string& name) const {
  std::visit([&](auto tokens) { check_range(tokens, vocabulary, name); }, tokens_);
}

std::span<const std::byte> TokenView::bytes() const {
  return std::visit([](auto tokens) { return std::as_bytes(tokens); }, tokens_);
}

TokenFile TokenFile::open(const std::filesystem::path& path, Check check) {
  TokenFile result;
  result.file_ = MappedFile(path);
  const auto file = result.file_.bytes();
  const std::string name = path.string();
  Parsed parsed;
  if (has_our_magic(file)) {
    parsed = parse_ours(file, name, check);
  } else if (const auto shard = parse_llmc_header(file, path)) {
    parsed.tokens =
        view_of(file.subspan(shard->offset), shard->token_bytes, shard->vocabulary, name);
    parsed.info = {.format = "llm.c", .vocabulary = shard->vocabulary};
  } else if (path.extension() == ".bin") {
    parsed = parse_nanogpt(file, path);
  } else {
    fail("{} is no token file: it begins with no known magic number and is not named *.bin", name);
  }
  result.tokens_ = parsed.tokens;
  result.info_ = std::move(parsed.info);
  return result;
}

TokenFile TokenFile::in_memory(std::vector<std::uint32_t> tokens, const Tokenizer& tokenizer,
                               std::uint64_t source_bytes) {
  TokenFile result;
  result.memory_ = std::move(tokens);
  result.tokens_ = TokenView(std::span<const std::uint32_t>(result.memory_));
  result.tokens_.require_below(tokenizer.vocabulary(), "the text in memory");
  result.info_ = {.format = "memory",
                  .vocabulary = tokenizer.vocabulary(),
                  .source_bytes = source_bytes,
                  .tokenizer_digest = tokenizer.digest(),
                  .tokenizer_kind = tokenizer.kind(),
                  .tokenizer_blob = tokenizer.blob()};
  return result;
}

std::string TokenFile::token_digest() const {
  return info_.token_digest.empty() ? digest_hex(tokens_.bytes()) : info_.token_digest;
}

bool is_token_file(const std::filesystem::path& path) {
  std::array<std::byte, kMagic.size()> buffer;
  const auto start = first_bytes(path, buffer);
  return has_our_magic(start) || has_llmc_magic(start) || path.extension() == ".bin";
}

void write_token_file(const std::filesystem::path& path, const Tokenizer& tokenizer,
                      std::uint64_t source_bytes,
                      const std::function<void(const AppendTokens&)>& produce) {
  Header header;
  header.token_bytes = tokenizer.vocabulary() <= 1u << 16 ? 2 : 4;
  header.vocabulary = tokenizer.vocabulary();
  header.source_bytes = source_bytes;
  const std::string kind = tokenizer.kind(), blob = tokenizer.blob();
  header.kind_bytes = kind.size();
  header.blob_bytes = blob.size();
  header.tokenizer_digest = digits(tokenizer.digest());

  write_atomically(path, [&](const std::filesystem::path& temporary) {
    std::ofstream file(temporary, std::ios::binary);
    const auto write = [&](const void* bytes, std::size_t size) {
      file.write(static_cast<const char*>(bytes), static_cast<std::streamsize>(size));
      if (!file) fail("cannot write {}: {}", path.string(), std::strerror(errno));
    };
    Digest digest;
    std::vector<std::uint16_t> narrow;
    write(&header, sizeof(header));
    produce([&](std::span<const std::uint32_t> tokens) {
      TokenView(tokens).require_below(header.vocabulary, path.string());
      std::span<const std::byte> bytes = std::as_bytes(tokens);
      if (header.token_bytes == 2) {
        narrow.assign(tokens.begin(), tokens.end());
        bytes = std::as_bytes(std::span(narrow));
      }
      digest.update(bytes);
      write(bytes.data(), bytes.size());
      header.tokens += tokens.size();
    });
    write(kind.data(), kind.size());
    write(blob.data(), blob.size());
    // Count and digest are known only now.
    header.token_digest = digits(digest.hex());
    header.header_digest = digest_of(header);
    file.seekp(0);
    write(&header, sizeof(header));
    file.flush();
    if (!file) fail("cannot write {}: {}", path.string(), std::strerror(errno));
  });
}

}  // namespace cllm::data
