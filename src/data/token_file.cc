#include "cllm/data/token_file.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <optional>
#include <type_traits>

#include "cllm/base/digest.h"
#include "cllm/base/error.h"
#include "foreign_token_file.h"
#include "token_survey.h"

namespace cllm::data {
namespace {

static_assert(std::endian::native == std::endian::little, "token files are little-endian");

constexpr std::array<char, 8> kMagic = {'C', 'L', 'L', 'M', 'T', 'O', 'K', '\n'};
constexpr std::uint32_t kVersion = 1;
/// The same, and last of all 8 bytes: those of the text that the tokens don't give back.
constexpr std::uint32_t kLossyVersion = 2;
/// Before its end it has where documents begin and what counts, and a Trailer instead of the 8
/// bytes.
constexpr std::uint32_t kMarkedVersion = 3;
constexpr std::size_t kDigestDigits = 32;

/// The first bytes of a token file, as they lie there; then come the tokens, the tokenizer's kind,
/// its blob, and what the version has behind it, without gaps.
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

/// The last bytes of a file of version 3.
struct Trailer {
  std::uint64_t lost_bytes = 0;     ///< kNone where the tokenizer loses none
  std::uint64_t documents = 0;      ///< numbers of 8 bytes: where they begin
  std::uint64_t mask_words = 0;     ///< 0, or one for each 64 tokens
  std::uint64_t counted_bytes = 0;  ///< of the text that the tokens that count came from
  std::array<char, kDigestDigits> marks_digest{};
  static constexpr std::uint64_t kNone = ~std::uint64_t{0};
};
static_assert(sizeof(Trailer) == 64 && std::is_trivially_copyable_v<Trailer>);

/// Bytes of zero behind `size` bytes, up to a multiple of 8.
constexpr std::uint64_t padding_of(std::uint64_t size) { return (8 - size % 8) % 8; }

std::array<char, kDigestDigits> digits(const std::string& hex) {
  std::array<char, kDigestDigits> array{};
  std::copy_n(hex.data(), kDigestDigits, array.data());
  return array;
}

/// The low half of the XXH3-128 of the header while its own digest is 0, and of what the version
/// has at the file's end: the lost bytes, or the trailer.
std::uint64_t digest_of(Header header, std::span<const std::byte> end) {
  header.header_digest = 0;
  Digest digest;
  digest.update(std::as_bytes(std::span(&header, 1)));
  digest.update(end);
  const std::string hex = digest.hex();
  return std::stoull(hex.substr(kDigestDigits / 2), nullptr, 16);
}

std::string digest_of_marks(std::span<const std::uint64_t> documents,
                            std::span<const std::uint64_t> counted) {
  Digest digest;
  digest.update(std::as_bytes(documents));
  digest.update(std::as_bytes(counted));
  return digest.hex();
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
std::uint32_t largest_of(std::span<const Token> tokens) {
  Token largest = 0;  // a plain maximum vectorises; an early exit would not
  for (const Token token : tokens) largest = std::max(largest, token);
  return largest;
}

TokenView view_of(std::span<const std::byte> bytes, std::size_t token_bytes,
                  const std::string& name) {
  if (bytes.empty()) fail("{} holds no tokens", name);
  // The mapping begins on a page and every format's tokens on a multiple of their size.
  const void* first = bytes.data();
  const std::size_t count = bytes.size() / token_bytes;
  return token_bytes == 2 ? TokenView(std::span(static_cast<const std::uint16_t*>(first), count))
                          : TokenView(std::span(static_cast<const std::uint32_t*>(first), count));
}

struct Parsed {
  TokenView tokens;
  TokenFileInfo info;
  std::span<const std::uint64_t> documents = {}, counted = {};
};

/// Takes what a version 3 has behind its tokenizer off a file's `rest` bytes: its marks. False
/// where the rest has no room for them.
bool take_marks(const Header& header, const Trailer& trailer, std::uint64_t& rest) {
  const std::uint64_t words = (header.tokens + 63) / 64;
  if (trailer.mask_words != 0 && trailer.mask_words != words) return false;
  for (const std::uint64_t count : {trailer.documents, trailer.mask_words}) {
    if (count > rest / 8) return false;
    rest -= 8 * count;
  }
  return true;
}

std::span<const std::uint64_t> numbers_of(std::span<const std::byte> bytes) {
  const void* const first = bytes.data();  // the mapping begins on a page, and these at a multiple
  return {static_cast<const std::uint64_t*>(first), bytes.size() / 8};
}

Parsed parse_ours(std::span<const std::byte> file, const std::string& name,
                  TokenFile::Check check) {
  Header header;
  if (file.size() < sizeof(header)) fail("{} is a token file that was cut short", name);
  std::memcpy(&header, file.data(), sizeof(header));
  if (header.version < kVersion || header.version > kMarkedVersion) {
    fail(
        "{} is a token file of version {}, but this program knows versions {} to {}: make it anew "
        "with `cllm-dist tokenize`",
        name, header.version, kVersion, kMarkedVersion);
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
  const bool is_marked = header.version == kMarkedVersion;
  const std::size_t end_bytes = is_marked                         ? sizeof(Trailer)
                                : header.version == kLossyVersion ? sizeof(std::uint64_t)
                                                                  : 0;
  fits = fits && rest >= end_bytes;
  if (fits) rest -= end_bytes;
  Trailer trailer;
  if (is_marked && fits) {
    std::memcpy(&trailer, file.last(sizeof(trailer)).data(), sizeof(trailer));
    fits = take_marks(header, trailer, rest) && header.blob_bytes <= rest;
    const std::uint64_t padding =
        padding_of(header.tokens * header.token_bytes + header.kind_bytes + header.blob_bytes);
    fits = fits && padding <= rest - header.blob_bytes;
    if (fits) rest -= padding;
  }
  if (!fits || header.blob_bytes != rest) {
    fail(
        "{} does not have the length that its header asks for ({} tokens of {} bytes): it was cut "
        "short or is corrupt",
        name, header.tokens, header.token_bytes);
  }

  auto contents = file.subspan(sizeof(header));
  const auto end = contents.last(end_bytes);
  contents = contents.first(contents.size() - end_bytes);
  std::optional<std::uint64_t> lost;
  if (header.version == kLossyVersion) {
    lost = 0;
    std::memcpy(&*lost, end.data(), sizeof(*lost));
  } else if (is_marked && trailer.lost_bytes != Trailer::kNone) {
    lost = trailer.lost_bytes;
  }
  const auto counted = contents.last(8 * trailer.mask_words);
  contents = contents.first(contents.size() - counted.size());
  const auto documents = contents.last(8 * trailer.documents);
  contents =
      contents.first(header.tokens * header.token_bytes + header.kind_bytes + header.blob_bytes);
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
      .lost_bytes = lost,
      .token_digest = std::string(header.token_digest.begin(), header.token_digest.end()),
      .tokenizer_digest =
          std::string(header.tokenizer_digest.begin(), header.tokenizer_digest.end()),
      .tokenizer_kind = text(kind),
      .tokenizer_blob = text(blob),
      .counted_bytes = trailer.counted_bytes,
      .marks_digest =
          is_marked ? std::string(trailer.marks_digest.begin(), trailer.marks_digest.end()) : ""};
  if (check != TokenFile::Check::tokens) {
    if (header.header_digest != 0 && header.header_digest != digest_of(header, end)) {
      fail("{} is corrupt: its header does not have its own digest", name);
    }
    if (tokenizer_digest(info.tokenizer_kind, info.tokenizer_blob) != info.tokenizer_digest) {
      fail("{} is corrupt: its tokenizer does not have the digest of its header", name);
    }
  }
  return {view_of(token_part, header.token_bytes, name), std::move(info), numbers_of(documents),
          numbers_of(counted)};
}

Parsed parse_nanogpt(std::span<const std::byte> file, const std::filesystem::path& path) {
  const std::string name = path.string();
  if (file.size() % 2 != 0) {
    fail(
        "{} has {} bytes, an odd number, so it is not nanoGPT's raw 16-bit tokens: it was cut "
        "short or is of another format",
        name, file.size());
  }
  require_nanogpt(file, path);
  const auto [vocabulary, source] = nanogpt_vocabulary(path);
  return {view_of(file, 2, name),
          {.format = "nanoGPT", .vocabulary = vocabulary, .vocabulary_source = source}};
}

}  // namespace

std::string format_text(const TokenFileInfo& info) {
  if (info.format == "memory") return "text";
  if (info.format == "cllm") return "token file";
  if (info.format == "llm.c") return fmt::format("llm.c's tokens, vocabulary {}", info.vocabulary);
  return fmt::format("{}'s raw 16-bit tokens, vocabulary {} ({})", info.format, info.vocabulary,
                     info.vocabulary_source);
}

std::size_t TokenView::size() const {
  return std::visit([](auto tokens) { return tokens.size(); }, tokens_);
}

std::uint32_t TokenView::stored(std::size_t i) const {
  return std::visit([i](auto tokens) -> std::uint32_t { return tokens[i]; }, tokens_);
}

std::uint32_t TokenView::operator[](std::size_t i) const {
  const std::uint32_t token = stored(i);
  if (rows_.empty()) return token;
  if (token >= rows_.size()) refuse(token);
  return rows_[token];
}

TokenView TokenView::bounded(std::uint64_t vocabulary) const {
  TokenView view = *this;
  view.bound_ = vocabulary;
  return view;
}

TokenView TokenView::renamed(std::span<const std::uint32_t> rows) const {
  TokenView view = *this;
  view.rows_ = rows;
  if (!rows.empty()) view.bound_ = std::min(bound_, std::uint64_t{rows.size()});
  return view;
}

void TokenView::copy(std::size_t offset, std::size_t count, std::uint32_t* out) const {
  std::visit([&](auto tokens) { std::copy_n(tokens.data() + offset, count, out); }, tokens_);
  if (bound_ == kNoBound) return;
  const std::uint32_t largest = subview(offset, count).largest();
  if (largest >= bound_) refuse(largest);
  if (rows_.empty()) return;
  std::transform(out, out + count, out, [&](std::uint32_t token) { return rows_[token]; });
}

void TokenView::refuse(std::uint32_t token) const {
  fail(
      "--data or --validation-data has token {} here, outside the vocabulary of {}: give a file "
      "that all hosts share and that nobody changes",
      token, bound_);
}

TokenView TokenView::subview(std::size_t offset, std::size_t count) const {
  TokenView view = *this;
  std::visit([&](auto tokens) { view.tokens_ = tokens.subspan(offset, count); }, tokens_);
  return view;
}

std::uint32_t TokenView::largest() const {
  return std::visit([](auto tokens) { return largest_of(tokens); }, tokens_);
}

void TokenView::require_below(std::uint64_t vocabulary, const std::string& name) const {
  if (largest() < vocabulary) return;
  std::size_t bad = 0;
  while (stored(bad) < vocabulary) ++bad;
  fail(
      "{} has token {} at position {}, outside its vocabulary of {}: it is corrupt, or of another "
      "format",
      name, stored(bad), bad, vocabulary);
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
    parsed.tokens = view_of(file.subspan(shard->offset), shard->token_bytes, name);
    parsed.info = {.format = "llm.c", .vocabulary = shard->vocabulary};
  } else if (path.extension() == ".bin") {
    parsed = parse_nanogpt(file, path);
  } else {
    fail("{} is no token file: it begins with no known magic number and is not named *.bin", name);
  }
  result.tokens_ = parsed.tokens;
  result.document_starts_ = parsed.documents;
  result.counted_ = parsed.counted;
  result.info_ = std::move(parsed.info);
  const TokenFileInfo& info = result.info_;
  if (check == Check::tokens || (check == Check::digests && info.token_digest.empty())) {
    result.tokens_.require_below(info.vocabulary, name);
    result.require_marks(name);
  } else if (check == Check::digests) {
    require_whole(survey(result.tokens_), result, name);
  }
  return result;
}

void TokenFile::require_marks(const std::string& name) const {
  std::uint64_t before = 0;
  for (std::size_t i = 0; i < document_starts_.size(); ++i) {
    const std::uint64_t start = document_starts_[i];
    if (start < tokens_.size() && (i == 0 || start > before)) {
      before = start;
      continue;
    }
    fail("{} is corrupt: its document {} begins at token {}, of {}, where another one ends", name,
         i + 1, start, tokens_.size());
  }
  if (!info_.marks_digest.empty() &&
      digest_of_marks(document_starts_, counted_) != info_.marks_digest) {
    fail("{} is corrupt: what it says of documents does not have its digest", name);
  }
}

TokenFile TokenFile::in_memory(std::vector<std::uint32_t> tokens, const Tokenizer& tokenizer,
                               std::uint64_t source_bytes, TokenMarks marks) {
  TokenFile result;
  result.memory_ = std::move(tokens);
  result.memory_marks_ = std::move(marks);
  result.document_starts_ = result.memory_marks_.documents;
  result.counted_ = result.memory_marks_.counted;
  result.tokens_ = TokenView(std::span<const std::uint32_t>(result.memory_));
  result.tokens_.require_below(tokenizer.vocabulary(), "the text in memory");
  result.info_ = {.format = "memory",
                  .vocabulary = tokenizer.vocabulary(),
                  .source_bytes = source_bytes,
                  .tokenizer_digest = tokenizer.digest(),
                  .tokenizer_kind = tokenizer.kind(),
                  .tokenizer_blob = tokenizer.blob(),
                  .counted_bytes = result.memory_marks_.counted_bytes};
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
                      const std::function<void(const AppendTokens&)>& produce,
                      const std::optional<std::uint64_t>& lost_bytes, const TokenMarks& marks) {
  Header header;
  header.token_bytes = tokenizer.vocabulary() <= 1u << 16 ? 2 : 4;
  header.vocabulary = tokenizer.vocabulary();
  header.source_bytes = source_bytes;
  const std::string kind = tokenizer.kind(), blob = tokenizer.blob();
  header.kind_bytes = kind.size();
  header.blob_bytes = blob.size();
  header.tokenizer_digest = digits(tokenizer.digest());

  AtomicFile atomic(path);
  std::ofstream file(atomic.temporary(), std::ios::binary);
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
  // One document of which all counts needs no marks.
  const bool is_marked = marks.documents.size() > 1 || !marks.counted.empty();
  Trailer trailer;
  std::span<const std::byte> end;
  if (is_marked) {
    header.version = kMarkedVersion;
    trailer = {.lost_bytes = lost_bytes.value_or(Trailer::kNone),
               .documents = marks.documents.size(),
               .mask_words = marks.counted.size(),
               .counted_bytes = marks.counted.empty() ? 0 : marks.counted_bytes,
               .marks_digest = digits(digest_of_marks(marks.documents, marks.counted))};
    const std::uint64_t none = 0;
    write(&none, padding_of(header.tokens * header.token_bytes + kind.size() + blob.size()));
    write(marks.documents.data(), 8 * marks.documents.size());
    write(marks.counted.data(), 8 * marks.counted.size());
    end = std::as_bytes(std::span(&trailer, 1));
  } else if (lost_bytes) {
    header.version = kLossyVersion;
    end = std::as_bytes(std::span(&*lost_bytes, 1));
  }
  write(end.data(), end.size());
  // Count and digest are known only now.
  header.token_digest = digits(digest.hex());
  header.header_digest = digest_of(header, end);
  file.seekp(0);
  write(&header, sizeof(header));
  file.flush();
  if (!file) fail("cannot write {}: {}", path.string(), std::strerror(errno));
  atomic.sync();
  atomic.commit();
}

}  // namespace cllm::data
