#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "cllm/base/file.h"
#include "cllm/data/token_marks.h"
#include "cllm/data/tokenizer.h"

namespace cllm::data {

/// A run of tokens of 16 or 32 bits that someone else owns. Reading is thread-safe.
class TokenView {
 public:
  TokenView() = default;
  explicit TokenView(std::span<const std::uint16_t> tokens) : tokens_(tokens) {}
  explicit TokenView(std::span<const std::uint32_t> tokens) : tokens_(tokens) {}

  /// The same tokens, of which `copy` and `for_each` throw Error where one is not below
  /// `vocabulary`: for a file that another rank read through, and that may not be the same here.
  TokenView bounded(std::uint64_t vocabulary) const;

  /// The same tokens under other numbers: `copy`, `for_each` and [] give rows[token], and throw
  /// Error where there is no such row. No rows: the tokens as they are. The rows must outlive the
  /// view.
  TokenView renamed(std::span<const std::uint32_t> rows) const;

  std::size_t size() const;
  std::uint32_t operator[](std::size_t i) const;
  /// Tokens [offset, offset + count) as 32-bit integers. The range must lie within the view.
  void copy(std::size_t offset, std::size_t count, std::uint32_t* out) const;
  /// visit(i, token) for tokens [first, end), in order. The range must lie within the view.
  template <typename Visit>
  void for_each(std::size_t first, std::size_t end, const Visit& visit) const {
    std::array<std::uint32_t, 4096> piece;
    for (std::size_t at = first; at < end; at += piece.size()) {
      const std::size_t count = std::min(piece.size(), end - at);
      copy(at, count, piece.data());
      for (std::size_t i = 0; i < count; ++i) visit(at + i, piece[i]);
    }
  }
  /// The same range as a view.
  TokenView subview(std::size_t offset, std::size_t count) const;
  /// The largest token as stored; 0 of none.
  std::uint32_t largest() const;
  /// Throws Error unless every token as stored is below `vocabulary`; it names `name` and the
  /// position.
  void require_below(std::uint64_t vocabulary, const std::string& name) const;
  /// The tokens as they lie in memory.
  std::span<const std::byte> bytes() const;

 private:
  /// Token `i` as stored.
  std::uint32_t stored(std::size_t i) const;
  [[noreturn]] void refuse(std::uint32_t token) const;

  std::variant<std::span<const std::uint16_t>, std::span<const std::uint32_t>> tokens_;
  std::span<const std::uint32_t> rows_;
  static constexpr std::uint64_t kNoBound = std::uint64_t{1} << 32;
  std::uint64_t bound_ = kNoBound;
};

/// What is known of a token file beside its tokens. docs/data_format.md has the bytes.
struct TokenFileInfo {
  std::string format = {};             ///< "cllm", "nanoGPT" or "llm.c"; "memory" without a file
  std::uint64_t vocabulary = 0;        ///< V; every token is below it
  std::string vocabulary_source = {};  ///< of nanoGPT's: "GPT-2's", "of meta.pkl"
  std::uint64_t source_bytes = 0;      ///< of the text that the tokens came from; 0 where unknown
  std::optional<std::uint64_t> lost_bytes = {};  ///< of it, not given back; none where unknown
  std::string token_digest = {};      ///< XXH3-128 of the tokens as stored; empty where not stored
  std::string tokenizer_digest = {};  ///< Tokenizer::digest(); empty where unknown
  std::string tokenizer_kind = {};    ///< for make_tokenizer; empty where unknown
  std::string tokenizer_blob = {};
  /// Bytes of the text that the tokens that count came from; where not all do.
  std::uint64_t counted_bytes = 0;
  std::string marks_digest = {};  ///< of where documents begin and what counts; empty without
};

/// What a file was recognised as, for people: "token file", "nanoGPT's raw 16-bit tokens, …".
std::string format_text(const TokenFileInfo& info);

/// The tokens of a corpus: a mapped file, or a vector in memory. Move-only; views stay valid when
/// it is moved, as long as it lives. Reading is thread-safe.
class TokenFile {
 public:
  enum class Check {
    header,  ///< that header and length agree, and header and tokenizer have their digests: no pass
    tokens,  ///< that header and length agree, that every token is below the vocabulary, and that
             ///< documents begin one after the other
    digests  ///< all of that, and that the tokens have their digest: one pass
  };

  TokenFile() = default;
  /// Maps a file of any of the three formats and checks it. Throws Error that names the file, and
  /// the position of a token that is out of range.
  static TokenFile open(const std::filesystem::path& path, Check check = Check::tokens);
  /// Tokens that are at hand.
  static TokenFile in_memory(std::vector<std::uint32_t> tokens, const Tokenizer& tokenizer,
                             std::uint64_t source_bytes, TokenMarks marks = {});

  const TokenFileInfo& info() const { return info_; }
  TokenView tokens() const { return tokens_; }
  /// Where documents begin, ascending; empty where the file doesn't say.
  std::span<const std::uint64_t> document_starts() const { return document_starts_; }
  /// The words of a TokenMask; empty where all tokens count.
  std::span<const std::uint64_t> counted() const { return counted_; }
  /// Throws Error that names the file where its marks make no sense or don't have their digest: one
  /// pass over them.
  void require_marks(const std::string& name) const;
  /// The digest of the tokens: of the header, else computed.
  std::string token_digest() const;

 private:
  MappedFile file_;
  std::vector<std::uint32_t> memory_;
  TokenMarks memory_marks_;
  TokenView tokens_;
  std::span<const std::uint64_t> document_starts_, counted_;
  TokenFileInfo info_;
};

/// True for what `TokenFile::open` should open: a file that begins with our magic or llm.c's, or,
/// as nanoGPT's files have none, one whose name ends in ".bin". Throws Error when it can't be read.
bool is_token_file(const std::filesystem::path& path);

using AppendTokens = std::function<void(std::span<const std::uint32_t>)>;

/// Writes a token file, whole or not at all. `produce` is called once and appends the tokens, in as
/// many pieces as it likes. `lost_bytes`, where it has a value after that, says how many bytes of
/// the text the tokens don't give back, and `marks`, where it has any then, goes with them. Throws
/// Error that names the file.
void write_token_file(const std::filesystem::path& path, const Tokenizer& tokenizer,
                      std::uint64_t source_bytes,
                      const std::function<void(const AppendTokens& append)>& produce,
                      const std::optional<std::uint64_t>& lost_bytes = {},
                      const TokenMarks& marks = {});

}  // namespace cllm::data
