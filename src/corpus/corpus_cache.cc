#include "cllm/corpus/corpus_cache.h"

#include <fmt/format.h>

#include <array>
#include <bit>
#include <cstring>
#include <span>
#include <type_traits>

#include "cllm/base/digest.h"
#include "cllm/base/error.h"

namespace cllm::corpus {
namespace {

static_assert(std::endian::native == std::endian::little, "the files are little-endian");

/// To be raised with every change that gives other vectors.
constexpr int kAlgorithm = 2;

constexpr std::array<char, 8> kMagic = {'C', 'L', 'L', 'M', 'V', 'E', 'C', '\n'};
constexpr std::uint64_t kVersion = 1;
constexpr std::size_t kDigits = 32;

using Hex = std::array<char, kDigits>;

/// The first bytes of a file.
struct Header {
  std::array<char, 8> magic = kMagic;
  std::uint64_t version = kVersion;
  Hex digest{};  // of all that follows it
  Hex key{};
  std::uint64_t vocabulary = 0;
  std::uint64_t rank = 0;
  std::uint64_t nonzeros = 0;
  double energy = 0;
};
static_assert(sizeof(Header) == 112 && std::is_trivially_copyable_v<Header>);
constexpr std::size_t kDigested = offsetof(Header, key);

Hex digits(std::string_view hex) {
  Hex result{};
  hex.copy(result.data(), kDigits);
  return result;
}

Hex digest_of(std::string_view file) {
  return digits(digest_hex(std::as_bytes(std::span(file.substr(kDigested)))));
}

/// Elements of the vectors, values and counts, with their bytes.
std::uint64_t file_size(std::uint64_t vocabulary, std::uint64_t rank) {
  return sizeof(Header) + vocabulary * rank * sizeof(float) + rank * sizeof(double) +
         vocabulary * sizeof(std::uint64_t);
}

template <typename T>
void append(std::string& bytes, std::span<const T> values) {
  bytes.append(reinterpret_cast<const char*>(values.data()), values.size_bytes());
}

template <typename T>
void take(std::string_view& bytes, std::span<T> values) {
  if (!values.empty()) std::memcpy(values.data(), bytes.data(), values.size_bytes());
  bytes.remove_prefix(values.size_bytes());
}

}  // namespace

std::string corpus_key(const TokenSample& sample, std::uint64_t vocabulary,
                       const CorpusOptions& options) {
  Digest digest;
  digest.update(fmt::format("{} {} {} {} {} {:a} {} {} {}\n", kAlgorithm, sample.size(),
                            sample.stretches(), vocabulary, options.window, options.smoothing,
                            options.rank, options.seed, options.most_pairs));
  for (std::size_t i = 0; i < sample.stretches(); ++i) digest.update(sample.stretch(i).bytes());
  return digest.hex();
}

std::filesystem::path corpus_file(const std::filesystem::path& cache, std::string_view key) {
  return cache / fmt::format("{}.vectors", key.substr(0, 16));
}

std::string serialise(const CorpusVectors& vectors, std::string_view key) {
  Header header;
  header.key = digits(key);
  header.vocabulary = vectors.vocabulary;
  header.rank = vectors.rank;
  header.nonzeros = vectors.nonzeros;
  header.energy = vectors.energy;
  std::string bytes;
  bytes.reserve(file_size(header.vocabulary, header.rank));
  append(bytes, std::span<const Header>(&header, 1));
  append(bytes, vectors.vectors.span());
  append(bytes, std::span(vectors.singular_values));
  append(bytes, std::span(vectors.token_counts));
  header.digest = digest_of(bytes);
  std::memcpy(bytes.data(), &header, sizeof(header));
  return bytes;
}

CorpusVectors parse_corpus_vectors(std::string_view bytes, std::string_view key) {
  Header header;
  if (bytes.size() < sizeof(header)) fail("it was cut short");
  std::memcpy(&header, bytes.data(), sizeof(header));
  if (header.magic != kMagic) fail("it is something else");
  if (header.version != kVersion) fail("it is of version {}", header.version);
  if (header.digest != digest_of(bytes)) fail("it is damaged");
  if (header.key != digits(key)) fail("it is of another corpus");
  // A file with the right digest may still be one that somebody made; no product may overflow.
  const bool fits = header.vocabulary <= bytes.size() && header.rank <= bytes.size() &&
                    (header.rank == 0 || header.vocabulary <= bytes.size() / header.rank) &&
                    bytes.size() == file_size(header.vocabulary, header.rank);
  if (!fits) fail("it is damaged");
  CorpusVectors vectors;
  vectors.vocabulary = header.vocabulary;
  vectors.rank = header.rank;
  vectors.nonzeros = header.nonzeros;
  vectors.energy = header.energy;
  vectors.vectors = AlignedBuffer<float>(header.vocabulary * header.rank);
  vectors.singular_values.resize(header.rank);
  vectors.token_counts.resize(header.vocabulary);
  bytes.remove_prefix(sizeof(header));
  take(bytes, vectors.vectors.span());
  take(bytes, std::span(vectors.singular_values));
  take(bytes, std::span(vectors.token_counts));
  return vectors;
}

}  // namespace cllm::corpus
