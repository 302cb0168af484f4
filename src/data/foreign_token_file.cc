#include "foreign_token_file.h"

#include <array>
#include <cstring>
#include <string>
#include <string_view>

#include "cllm/base/error.h"
#include "cllm/base/file.h"

namespace cllm::data {
namespace {

constexpr std::uint64_t kGpt2Vocabulary = 50257;
constexpr std::uint64_t kLlama3Vocabulary = 128256;

constexpr std::size_t kLlmcHeaderBytes = 256 * sizeof(std::int32_t);
constexpr std::int32_t kLlmcGpt2Magic = 20240520;
constexpr std::int32_t kLlmcLlama3Magic = 20240801;
constexpr std::int32_t kLlmcQuestionsMagic = 20240522;

std::int32_t int32_at(std::span<const std::byte> file, std::size_t index) {
  std::int32_t value = 0;
  if (file.size() >= (index + 1) * sizeof(value)) {
    std::memcpy(&value, file.data() + index * sizeof(value), sizeof(value));
  }
  return value;
}

/// The integer that Python's pickle wrote as the value of a dictionary key, if it is a small
/// non-negative one: after the key's text and an optional "memoize" comes BININT1, 2 or 4.
std::optional<std::uint64_t> pickled_integer(std::string_view pickle, std::string_view key) {
  const std::size_t at = pickle.find(key);
  if (at == pickle.npos) return {};
  std::string_view rest = pickle.substr(at + key.size());
  if (rest.starts_with('\x94'))
    rest.remove_prefix(1);  // MEMOIZE, protocol 4
  else if (rest.starts_with('q') && rest.size() > 2)
    rest.remove_prefix(2);  // BINPUT, before
  const std::size_t width = rest.starts_with('K')   ? 1
                            : rest.starts_with('M') ? 2
                            : rest.starts_with('J') ? 4
                                                    : 0;
  if (width == 0 || rest.size() <= width) return {};
  std::uint64_t value = 0;
  std::memcpy(&value, rest.data() + 1, width);
  return value;
}

}  // namespace

bool has_llmc_magic(std::span<const std::byte> file) {
  const std::int32_t magic = int32_at(file, 0);
  return magic == kLlmcGpt2Magic || magic == kLlmcLlama3Magic || magic == kLlmcQuestionsMagic;
}

std::optional<LlmcShard> parse_llmc_header(std::span<const std::byte> file,
                                           const std::filesystem::path& path) {
  if (!has_llmc_magic(file)) return {};
  const std::string name = path.string();
  const std::int32_t magic = int32_at(file, 0), version = int32_at(file, 1);
  if (magic == kLlmcQuestionsMagic) {
    fail("{} holds multiple-choice questions in llm.c's format: give a shard of tokens", name);
  }
  const bool gpt2 = magic == kLlmcGpt2Magic;
  const std::int32_t known = gpt2 ? 1 : 7;
  if (version != known) {
    fail("{} is a llm.c token shard of version {}, but only version {} is known: make it anew",
         name, version, known);
  }
  LlmcShard shard{kLlmcHeaderBytes, gpt2 ? 2u : 4u, 0, gpt2 ? kGpt2Vocabulary : kLlama3Vocabulary};
  const std::int32_t count = int32_at(file, 2);
  if (count < 0) fail("{} is corrupt: its header says {} tokens", name, count);
  shard.tokens = static_cast<std::uint64_t>(count);
  const std::uint64_t expected = kLlmcHeaderBytes + shard.tokens * shard.token_bytes;
  if (file.size() != expected) {
    fail("{} has {} bytes where its header asks for {}: it was cut short or is corrupt", name,
         file.size(), expected);
  }
  return shard;
}

std::uint64_t nanogpt_vocabulary(const std::filesystem::path& path) {
  const std::filesystem::path meta = path.parent_path() / "meta.pkl";
  if (!std::filesystem::exists(meta)) return kGpt2Vocabulary;
  const auto size = pickled_integer(read_file(meta), "vocab_size");
  if (!size || *size == 0) {
    fail(
        "cannot find vocab_size in {}, which should tell the vocabulary of {}: move it away to "
        "use GPT-2's {}",
        meta.string(), path.string(), kGpt2Vocabulary);
  }
  return *size;
}

}  // namespace cllm::data
