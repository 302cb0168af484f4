#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "cllm/corpus/corpus_vectors.h"
#include "cllm/corpus/token_sample.h"

namespace cllm::corpus {

/// Digest of all that corpus vectors depend on: the sample's tokens, the vocabulary, the options
/// but for the cache, and the version of the algorithm.
std::string corpus_key(const TokenSample& sample, std::uint64_t vocabulary,
                       const CorpusOptions& options);

/// Where the vectors of a key lie in the cache.
std::filesystem::path corpus_file(const std::filesystem::path& cache, std::string_view key);

/// Corpus vectors as the bytes of a file: a header with the key and a digest of the rest, vectors,
/// singular values, token counts, little-endian. `seconds` and `from_cache` are left out.
std::string serialise(const CorpusVectors& vectors, std::string_view key);

/// Back. Throws Error that says what is wrong with `bytes` where they aren't what `serialise` made,
/// or were made for another key.
CorpusVectors parse_corpus_vectors(std::string_view bytes, std::string_view key);

}  // namespace cllm::corpus
