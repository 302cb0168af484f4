#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>

namespace cllm::data {

/// What the header of a llm.c token shard says; none where the bytes don't begin with its magic.
struct LlmcShard {
  std::size_t offset = 0;       ///< of the first token, in bytes
  std::size_t token_bytes = 0;  ///< 2 or 4
  std::uint64_t tokens = 0;
  std::uint64_t vocabulary = 0;
};

/// Throws Error, naming `path`, where the magic is llm.c's but the rest does not fit.
std::optional<LlmcShard> parse_llmc_header(std::span<const std::byte> file,
                                           const std::filesystem::path& path);

/// True where the bytes begin with one of llm.c's magic numbers.
bool has_llmc_magic(std::span<const std::byte> file);

/// The vocabulary of a raw nanoGPT file, and where it is from.
struct NanogptVocabulary {
  std::uint64_t size = 0;
  std::string source;  ///< "of meta.pkl"
};

/// That of the "meta.pkl" beside it, which nanoGPT's character data sets have, else GPT-2's. Throws
/// Error when there is a meta.pkl that does not say.
NanogptVocabulary nanogpt_vocabulary(const std::filesystem::path& path);

/// Throws Error, naming `path`, where the bytes, of which the first MiB is looked at, can't be raw
/// 16-bit tokens, but are of some other kind: text, integers of another size, or a file that begins
/// with another format's magic.
void require_nanogpt(std::span<const std::byte> file, const std::filesystem::path& path);

}  // namespace cllm::data
