#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>

#include "cllm/data/token_file.h"
#include "cllm/data/tokenizer.h"

namespace cllm::data {

/// What is to be known of the bytes that tokens stand for.
struct Decoding {
  const Tokenizer* tokenizer = nullptr;  ///< null: nothing
  std::uint64_t cut = 0;                 ///< tokens of the first part
  TokenMask mask = {};                   ///< which tokens count as targets
};

/// What one pass over the tokens of a file finds.
struct TokenSurvey {
  std::string digest;         ///< XXH3-128 of the tokens as stored
  std::uint32_t largest = 0;  ///< of the tokens
  /// Bytes that the tokens before the cut stand for, and the others; of those that the tokenizer
  /// has.
  std::uint64_t bytes_before = 0, bytes_after = 0;
  std::uint64_t counted_before = 0, counted_after = 0;  ///< the same of tokens that count
};

/// Reads all tokens, once. `progress(done, all)` is called now and then.
TokenSurvey survey(TokenView tokens, const Decoding& decoding = {},
                   const std::function<void(std::size_t, std::size_t)>& progress = {});

/// Throws Error that names the file unless its tokens are below its vocabulary and, where its
/// header says which, have their digest.
void require_whole(const TokenSurvey& found, const TokenFile& file, const std::string& name);

/// What is known of a file from an earlier survey. Note [Known files]. A file is the same as long
/// as it has its path, its size and the times of its last change; those that changed just now are
/// not trusted, as they might again within a tick of the clock. Small files aren't worth it.
class KnownFile {
 public:
  /// Looks at the file as it is before it is read.
  KnownFile(const std::filesystem::path& cache, const std::filesystem::path& file);

  /// Where what is known lies.
  const std::filesystem::path& path() const { return path_; }
  /// The survey of this very file with this decoding, if one was kept.
  std::optional<TokenSurvey> find(const Decoding& decoding) const;
  /// Keeps it for later. Where that can't be, all is as it was.
  void keep(const TokenSurvey& found, const Decoding& decoding) const;

 private:
  std::string identity_;  // empty: not to be kept
  std::filesystem::path path_;
};

}  // namespace cllm::data
