#include "cllm/corpus/corpus_vectors.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <span>
#include <utility>

#include "cllm/base/error.h"
#include "cllm/base/file.h"
#include "cllm/base/memory.h"
#include "cllm/base/stopwatch.h"
#include "cllm/corpus/cooccurrence.h"
#include "cllm/corpus/corpus_cache.h"
#include "cllm/corpus/subspace.h"
#include "cllm/ranks/agreement.h"
#include "ppmi_matrix.h"

namespace cllm::corpus {
namespace {

namespace fs = std::filesystem;

/// The subspace's four arrays and its result.
std::uint64_t subspace_bytes(std::uint64_t vocabulary, std::size_t rank) {
  const std::uint64_t k =
      std::min<std::uint64_t>(vocabulary, rank + SubspaceOptions{}.oversampling);
  return sizeof(float) * vocabulary * (4 * k + rank);
}

/// The vectors, and their bytes as they are sent.
std::uint64_t result_bytes(std::uint64_t vocabulary, std::size_t rank) {
  return 2 * (sizeof(float) * rank + sizeof(std::uint64_t)) * vocabulary;
}

}  // namespace

double CorpusVectors::energy_kept() const {
  if (energy == 0) return 1;
  double kept = 0;
  for (const double value : singular_values) kept += value * value;
  return kept / energy;
}

CorpusStudy::CorpusStudy(ranks::ProcessGroup& process_group, ThreadPool& pool,
                         const kernels::Kernels& kernels, const TokenSample& sample,
                         std::uint64_t vocabulary, CorpusOptions options,
                         const data::Progress& progress)
    : process_group_(process_group),
      pool_(pool),
      kernels_(kernels),
      sample_(sample),
      vocabulary_(vocabulary),
      options_(std::move(options)),
      progress_(process_group.rank() == 0 ? progress : data::Progress()) {
  const Stopwatch watch;
  // Rank 0 reads for all, whose nodes may not see the cache.
  key_ = ranks::on_rank_0(process_group_, [&] {
    if (sample_.size() > kMostPlaces) {
      fail("statistics of {} tokens are too large; give a sample of at most {}", sample_.size(),
           kMostPlaces);
    }
    std::string key = corpus_key(sample_, vocabulary_, options_);
    if (!options_.cache.empty()) cached_ = find_cached(key);
    return (cached_.empty() ? "-" : "+") + key;
  });
  is_cached_ = key_.front() == '+';
  key_.erase(0, 1);
  if (!is_cached_) {
    say(fmt::format(
        "note    counting which tokens stand within {} tokens of each other, in {} of {} tokens "
        "({:.3g} %)",
        options_.window, sample_.size(), sample_.corpus_size(), 100 * sample_.share()));
    survey_ = survey_pairs(process_group_, pool_, sample_, vocabulary_, options_);
  }
  seconds_ = watch.elapsed();
}

std::uint64_t CorpusStudy::bytes() const {
  if (is_cached_) return result_bytes(vocabulary_, options_.rank);
  return corpus_bytes(sample_.size(), survey_.pairs, vocabulary_, options_.rank,
                      process_group_.size(), pool_.size());
}

CorpusVectors CorpusStudy::vectors() {
  const Stopwatch watch;
  CorpusVectors result;
  if (!is_cached_) result = compute();
  // Rank 0 says what the result is, because a processor of another kind rounds otherwise.
  const std::string bytes = ranks::on_rank_0(process_group_, [&] {
    if (is_cached_) return std::exchange(cached_, {});
    std::string made = serialise(result, key_);
    store(made);
    return made;
  });
  ranks::in_agreement(process_group_, [&] { result = parse_corpus_vectors(bytes, key_); });
  result.from_cache = is_cached_;
  result.seconds = seconds_ + watch.elapsed();
  return result;
}

CorpusVectors CorpusStudy::compute() {
  CorpusVectors result;
  result.vocabulary = vocabulary_;
  result.rank = options_.rank;
  Subspace subspace;
  {
    const PpmiMatrix ppmi = make_matrix(process_group_, pool_, sample_, survey_, options_);
    result.energy = ppmi.energy;
    result.nonzeros = ppmi.nonzeros;
    subspace = leading_subspace(process_group_, pool_, kernels_, ppmi.matrix,
                                {.rank = options_.rank, .seed = options_.seed});
  }
  return_free_memory();  // of many small blocks, which would stay with their threads
  result.token_counts = std::move(survey_.token_counts);
  result.vectors = std::move(subspace.vectors);
  result.singular_values = std::move(subspace.singular_values);
  for (std::size_t token = 0; token < vocabulary_; ++token) {
    for (std::size_t j = 0; j < options_.rank; ++j) {
      result.vectors[token * options_.rank + j] *=
          static_cast<float>(std::sqrt(result.singular_values[j]));
    }
  }
  return result;
}

/// What lies in the cache for the key; nothing where nothing is that can be trusted.
std::string CorpusStudy::find_cached(const std::string& key) const {
  const fs::path path = corpus_file(options_.cache, key);
  if (!fs::exists(path)) return {};
  try {
    std::string bytes = read_file(path);
    parse_corpus_vectors(bytes, key);
    return bytes;
  } catch (const Error& error) {
    say(fmt::format("{} is not used and is made anew: {}", path.string(), error.what()));
    return {};
  }
}

void CorpusStudy::store(const std::string& bytes) const {
  if (options_.cache.empty()) return;
  const fs::path path = corpus_file(options_.cache, key_);
  try {
    make_directories(options_.cache);
    write_atomically(path, std::as_bytes(std::span(bytes)));
  } catch (const Error& error) {
    say(fmt::format("the corpus vectors are not cached: {}", error.what()));
  }
}

void CorpusStudy::say(const std::string& message) const {
  if (progress_) progress_(message);
}

CorpusVectors corpus_vectors(ranks::ProcessGroup& process_group, ThreadPool& pool,
                             const kernels::Kernels& kernels, const TokenSample& sample,
                             std::uint64_t vocabulary, const CorpusOptions& options,
                             const data::Progress& progress) {
  return CorpusStudy(process_group, pool, kernels, sample, vocabulary, options, progress).vectors();
}

std::uint64_t corpus_bytes(std::uint64_t tokens, std::uint64_t pairs, std::uint64_t vocabulary,
                           std::size_t rank, int ranks, int threads) {
  const std::uint64_t matrix = SparseBlock::kBytes * pairs / static_cast<std::uint64_t>(ranks);
  return matrix + std::max(counting_bytes(tokens, vocabulary, ranks, threads),
                           subspace_bytes(vocabulary, rank));
}

double corpus_work(std::uint64_t tokens, std::uint64_t vocabulary, std::size_t rank) {
  // Training's operations in the time of a pair that is counted, of an operation of a sparse
  // product, and the dense ones for each element of the vectors and column.
  constexpr double kPair = 1400, kElement = 10, kDense = 60;
  const CorpusOptions options;
  const double seen = 2.0 * options.window * static_cast<double>(tokens);
  const double v = static_cast<double>(vocabulary);
  // Of the pairs that are seen, a quarter is new to a text of some hundred thousand tokens, fewer
  // to a longer one, and an eighth of all that there could be is the most that was found.
  const double kept = std::min({seen / 4, v * v / 8, static_cast<double>(options.most_pairs)});
  const double k = std::min(v, static_cast<double>(rank + SubspaceOptions{}.oversampling));
  return kPair * seen + kElement * 2 * kept * k * most_products({}) + kDense * v * k * k;
}

}  // namespace cllm::corpus
