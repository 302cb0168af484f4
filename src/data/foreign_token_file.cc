#include "foreign_token_file.h"

#include <algorithm>
#include <array>
#include <bitset>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>

#include "cllm/base/error.h"
#include "cllm/base/file.h"
#include "cllm/base/utf8.h"

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

/// Of files that are often named .bin.
constexpr std::pair<std::string_view, std::string_view> kOtherFormats[] = {
    {"\x93NUMPY", "an array of numpy's own format"},
    {std::string_view("PK\x03\x04", 4), "a zip archive, like PyTorch's weights"},
    {std::string_view("\x1F\x8B\x08", 3), "compressed by gzip"},
    {"\x28\xB5\x2F\xFD", "compressed by zstd"},
    {"\x89HDF\r\n\x1A\n", "an HDF5 file"},
    {"GGUF", "a model of llama.cpp"},
};

/// Bytes that are looked at, and of how many one can tell what they are.
constexpr std::size_t kLookedAt = std::size_t{1} << 20;
constexpr std::size_t kFewestToTell = 64;

std::string_view text_of(std::span<const std::byte> file) {
  return {reinterpret_cast<const char*>(file.data()), file.size()};
}

/// Whether nearly all bytes are of written text, in UTF-8 or in another encoding of Latin letters.
/// Of the bytes of tokens about a third are letters, spaces and the like.
bool is_text(std::string_view bytes) {
  constexpr double kNearlyAll = 0.95;
  std::size_t written = 0;
  for (std::size_t at = 0; at < bytes.size();) {
    const auto byte = static_cast<unsigned char>(bytes[at]);
    const std::size_t length = utf8_length(bytes.substr(at));
    const bool is_control = byte < ' ' && byte != '\t' && byte != '\n' && byte != '\r';
    if (length > 0 && !is_control && byte != 0x7F) written += length;
    at += std::max<std::size_t>(1, length);
  }
  return static_cast<double>(written) >= kNearlyAll * static_cast<double>(bytes.size());
}

/// The integers that the bytes seem to be; empty where they may be little-endian ones of 16 bits.
/// Of wider ones that are small, all upper halves are 0, or nearly so; of narrower ones, two in
/// each token, both bytes have the same few values.
std::string_view other_integers(std::span<const std::byte> bytes) {
  std::array<std::uint16_t, 4> largest{};  // token of each four
  std::array<std::bitset<256>, 2> values;  // of the lower and of the upper bytes
  for (std::size_t at = 0; at < bytes.size(); ++at) {
    values[at % 2].set(std::to_integer<std::size_t>(bytes[at]));
  }
  for (std::size_t at = 0; at < bytes.size() / 2; ++at) {
    std::uint16_t token = 0;
    std::memcpy(&token, bytes.data() + 2 * at, sizeof(token));
    largest[at % 4] = std::max(largest[at % 4], token);
  }
  constexpr std::uint16_t kSmall = 15;  // 2^20 symbols are more than any vocabulary has
  const auto is_upper = [&](std::size_t i) {
    return largest[i] == 0 || (largest[i] <= kSmall && largest[i - 1] > 64 * kSmall);
  };
  if (largest[0] > 0 && is_upper(1) && largest[2] == 0 && largest[3] == 0) return "of 64 bits";
  if (largest[0] > 0 && is_upper(1) && largest[2] > 0 && is_upper(3)) return "of 32 bits";
  const auto& [lower, upper] = values;
  if (lower.count() == 1 && lower.test(0) && upper.count() > 1) return "in big-endian order";
  constexpr std::size_t kFewest = 8;
  const std::bitset<256> both = lower & upper, either = lower | upper;
  const bool alike = both.count() * 10 >= either.count() * 8 && both.count() >= kFewest;
  return alike && (either >> 128).none() ? "of 8 bits" : "";
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

NanogptVocabulary nanogpt_vocabulary(const std::filesystem::path& path) {
  const std::filesystem::path meta = path.parent_path() / "meta.pkl";
  if (!std::filesystem::exists(meta)) return {kGpt2Vocabulary, "GPT-2's"};
  const auto size = pickled_integer(read_file(meta), "vocab_size");
  if (!size || *size == 0) {
    fail(
        "cannot find vocab_size in {}, which should tell the vocabulary of {}: move it away to "
        "use GPT-2's {}",
        meta.string(), path.string(), kGpt2Vocabulary);
  }
  return {*size, "of meta.pkl"};
}

void require_nanogpt(std::span<const std::byte> file, const std::filesystem::path& path) {
  const std::string name = path.string();
  for (const auto& [magic, format] : kOtherFormats) {
    if (text_of(file).starts_with(magic)) {
      fail("{} is {}, not nanoGPT's raw 16-bit tokens: give text or a token file", name, format);
    }
  }
  const auto looked_at = file.first(std::min(file.size(), kLookedAt) / 8 * 8);
  if (looked_at.size() < kFewestToTell) return;
  if (is_text(text_of(looked_at))) {
    fail("{} is text, not nanoGPT's raw 16-bit tokens: give it a name without .bin", name);
  }
  if (const std::string_view kind = other_integers(looked_at); !kind.empty()) {
    fail(
        "{} looks like integers {}, not nanoGPT's raw 16-bit tokens: write it as numpy's little-"
        "endian uint16",
        name, kind);
  }
}

}  // namespace cllm::data
