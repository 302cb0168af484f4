#include "cllm/train/corpus_vectors.h"

#include <fmt/format.h>

#include <atomic>
#include <cmath>
#include <exception>
#include <numeric>
#include <span>
#include <utility>

#include "cllm/base/error.h"
#include "cllm/base/file.h"
#include "cllm/base/processors.h"
#include "cllm/base/stopwatch.h"
#include "cllm/data/cooccurrence.h"
#include "cllm/data/ppmi.h"
#include "cllm/data/token_counts.h"
#include "cllm/train/corpus_cache.h"
#include "cllm/train/merge.h"
#include "cllm/train/subspace.h"

namespace cllm::train {
namespace {

namespace fs = std::filesystem;

/// Rows that a thread counts and multiplies at a time; few, because those of frequent tokens are
/// long.
constexpr std::size_t kBlockRows = 4;

/// Bytes of the matrix after which free memory is looked at again.
constexpr std::uint64_t kWatchedBytes = std::uint64_t{64} << 20;

/// What the subspace takes beside the matrix: its four arrays and the result.
std::uint64_t subspace_bytes(std::uint64_t vocabulary, std::size_t rank) {
  return 5 * sizeof(float) * vocabulary * (rank + SubspaceOptions{}.oversampling);
}

/// Ends the counting while there still is memory, which the kernel gives without asking whether it
/// has it. Thread-safe.
class MemoryWatch {
 public:
  MemoryWatch(const CorpusOptions& options, std::uint64_t vocabulary)
      : free_bytes_(options.free_bytes), spare_(subspace_bytes(vocabulary, options.rank)) {}

  /// Throws Error where what is left will not do for the rest.
  void add(std::uint64_t bytes) {
    const std::uint64_t before = taken_.fetch_add(bytes), after = before + bytes;
    if (before > 0 && before / kWatchedBytes == after / kWatchedBytes) return;
    const std::uint64_t left = free_bytes_();
    if (left >= spare_) return;
    fail(
        "--embedding-init corpus: host {} has {:.2f} GB free for a rank after {:.2f} GB of "
        "co-occurrences, and {:.2f} GB are needed; give random, more hosts or a smaller vocabulary",
        host_name(), static_cast<double>(left) / 1e9, static_cast<double>(after) / 1e9,
        static_cast<double>(spare_) / 1e9);
  }

 private:
  const std::function<std::uint64_t()>& free_bytes_;
  std::uint64_t spare_;
  std::atomic<std::uint64_t> taken_ = 0;
};

/// Says what is going on, on rank 0.
class Teller {
 public:
  Teller(const Collective& collective, const data::Progress& progress)
      : progress_(collective.rank() == 0 ? progress : data::Progress()) {}

  void say(const std::string& message) const {
    if (progress_) progress_(message);
  }
  /// At most once a second.
  void say_seldom(const std::string& message) {
    if (!progress_ || watch_.elapsed() < 1) return;
    watch_.lap();
    progress_(message);
  }

 private:
  data::Progress progress_;
  Stopwatch watch_;
};

/// The tokens' PPMI matrix, dealt to ranks.
struct PpmiMatrix {
  SparseMatrix matrix;
  double energy = 0;           // ‖M‖²
  std::uint64_t nonzeros = 0;  // of all ranks
};

/// What a rank counts its rows with.
class RowMaker {
 public:
  RowMaker(const Collective& collective, Crew& crew, data::TokenView tokens,
           std::span<const std::uint64_t> token_counts, const CorpusOptions& options)
      : vocabulary_(token_counts.size()),
        first_(static_cast<std::size_t>(collective.rank())),
        step_(static_cast<std::size_t>(collective.size())),
        weights_(options.window),
        ppmi_(data::cooccurrence_totals(tokens, token_counts, weights_), options.smoothing),
        positions_(tokens, vocabulary_, first_, step_, crew) {
    for (int i = 0; i < crew.size(); ++i) counters_.emplace_back(tokens, vocabulary_, weights_);
  }

  /// Blocks of the rank's rows, which are every step-th: frequent tokens have neighbouring numbers
  /// in most vocabularies, and so each rank has its part of them.
  std::size_t blocks() const {
    return ((vocabulary_ + step_ - 1) / step_ + kBlockRows - 1) / kBlockRows;
  }

  /// One block of the matrix and of its transpose, whose elements have the same places but for
  /// those that are not positive.
  void make(std::size_t block, std::size_t thread, SparseBlock& rows, SparseBlock& transposed) {
    for (std::size_t i = block * kBlockRows; i < (block + 1) * kBlockRows; ++i) {
      const std::size_t token = first_ + i * step_;
      if (token >= vocabulary_) break;
      counters_[thread].count(positions_[token], [&](std::size_t other, std::uint64_t count) {
        const double log_count = std::log(static_cast<double>(count));
        const float value = ppmi_(token, other, log_count);
        const float mirrored = ppmi_(other, token, log_count);
        if (value > 0) rows.add(other, value);
        if (mirrored > 0) transposed.add(other, mirrored);
      });
      rows.end_row(token);
      transposed.end_row(token);
    }
    rows.finish();
    transposed.finish();
  }

 private:
  std::size_t vocabulary_;
  std::size_t first_;
  std::size_t step_;
  data::WindowWeights weights_;
  data::Ppmi ppmi_;
  data::TokenPositions positions_;
  std::vector<data::RowCounter> counters_;  // one per thread
};

/// Fills the rank's share of the matrix.
void fill_share(RowMaker& maker, Crew& crew, SparseMatrix& matrix, MemoryWatch& memory,
                Teller& teller) {
  matrix.rows.resize(maker.blocks());
  matrix.transposed.resize(maker.blocks());
  std::vector<std::exception_ptr> errors(static_cast<std::size_t>(crew.size()));
  crew.deal(maker.blocks(), [&](std::size_t block, std::size_t thread) {
    try {
      maker.make(block, thread, matrix.rows[block], matrix.transposed[block]);
      memory.add(matrix.rows[block].bytes() + matrix.transposed[block].bytes());
      if (thread == 0) {
        teller.say_seldom(fmt::format("co-occurrence: {} %", 100 * block / maker.blocks()));
      }
    } catch (...) {  // a thread of a crew must not throw
      errors[thread] = std::current_exception();
    }
  });
  for (const std::exception_ptr& error : errors) {
    if (error) std::rethrow_exception(error);
  }
}

PpmiMatrix make_matrix(Collective& collective, Crew& crew, data::TokenView tokens,
                       std::span<const std::uint64_t> token_counts, const CorpusOptions& options,
                       Teller& teller) {
  PpmiMatrix result;
  result.matrix.size = token_counts.size();
  in_agreement(collective, [&] {
    RowMaker maker(collective, crew, tokens, token_counts, options);
    MemoryWatch memory(options, token_counts.size());
    fill_share(maker, crew, result.matrix, memory, teller);
  });
  std::vector<double> squares(token_counts.size());
  std::int64_t nonzeros = 0;
  for (const SparseBlock& block : result.matrix.rows) {
    block.add_squares(squares);
    nonzeros += static_cast<std::int64_t>(block.nonzeros());
  }
  collective.sum(std::span(&nonzeros, 1));
  merge(collective, std::span(squares));
  result.nonzeros = static_cast<std::uint64_t>(nonzeros);
  result.energy = std::accumulate(squares.begin(), squares.end(), 0.0);
  return result;
}

CorpusVectors compute(Collective& collective, Crew& crew, const kernels::Kernels& kernels,
                      data::TokenView tokens, std::size_t vocabulary, const CorpusOptions& options,
                      Teller& teller) {
  CorpusVectors result;
  result.vocabulary = vocabulary;
  result.rank = options.rank;
  teller.say(fmt::format("co-occurrence within {} of {} tokens", options.window, tokens.size()));
  in_agreement(collective,
               [&] { result.token_counts = data::count_tokens(tokens, vocabulary, crew); });
  const PpmiMatrix ppmi =
      make_matrix(collective, crew, tokens, result.token_counts, options, teller);
  result.energy = ppmi.energy;
  result.nonzeros = ppmi.nonzeros;
  Subspace subspace =
      leading_subspace(collective, crew, kernels, ppmi.matrix,
                       {.rank = options.rank, .seed = options.seed}, [&](int done, int products) {
                         teller.say_seldom(fmt::format("singular vectors: {}/{}", done, products));
                       });
  result.vectors = std::move(subspace.vectors);
  result.singular_values = std::move(subspace.singular_values);
  for (std::size_t token = 0; token < vocabulary; ++token) {
    for (std::size_t j = 0; j < options.rank; ++j) {
      result.vectors[token * options.rank + j] *=
          static_cast<float>(std::sqrt(result.singular_values[j]));
    }
  }
  return result;
}

/// What lies in the cache for the key; nothing where nothing is that can be trusted.
std::string find_cached(const CorpusOptions& options, const std::string& key,
                        const Teller& teller) {
  if (options.cache.empty()) return {};
  const fs::path path = corpus_file(options.cache, key);
  if (!fs::exists(path)) return {};
  try {
    std::string bytes = read_file(path);
    parse_corpus_vectors(bytes, key);
    return bytes;
  } catch (const Error& error) {
    teller.say(fmt::format("{} is not used and is made anew: {}", path.string(), error.what()));
    return {};
  }
}

void store(const CorpusOptions& options, const std::string& key, const std::string& bytes,
           const Teller& teller) {
  if (options.cache.empty()) return;
  const fs::path path = corpus_file(options.cache, key);
  try {
    make_directories(options.cache);
    write_atomically(path, std::as_bytes(std::span(bytes)));
    teller.say(fmt::format("corpus vectors written to {}", path.string()));
  } catch (const Error& error) {
    teller.say(fmt::format("the corpus vectors are not cached: {}", error.what()));
  }
}

}  // namespace

double CorpusVectors::energy_kept() const {
  if (energy == 0) return 1;
  double kept = 0;
  for (const double value : singular_values) kept += value * value;
  return kept / energy;
}

std::uint64_t corpus_bytes(std::uint64_t tokens, std::uint64_t vocabulary, std::size_t rank,
                           int ranks) {
  return subspace_bytes(vocabulary, rank) +
         sizeof(std::uint64_t) * tokens / static_cast<std::uint64_t>(ranks);
}

CorpusVectors corpus_vectors(Collective& collective, Crew& crew, const kernels::Kernels& kernels,
                             data::TokenView tokens, std::uint64_t vocabulary,
                             const CorpusOptions& options, const data::Progress& progress) {
  const Stopwatch watch;
  Teller teller(collective, progress);
  CorpusVectors result;
  std::string key;
  in_agreement(collective, [&] { key = corpus_key(tokens, vocabulary, options); });
  // Rank 0 reads for all, whose nodes may not see the cache, and says what the result is, because a
  // processor of another kind rounds otherwise.
  std::string bytes = on_rank_0(collective, [&] { return find_cached(options, key, teller); });
  const bool from_cache = !bytes.empty();
  if (!from_cache) {
    result = compute(collective, crew, kernels, tokens, vocabulary, options, teller);
    bytes = on_rank_0(collective, [&] {
      std::string made = serialise(result, key);
      store(options, key, made, teller);
      return made;
    });
  }
  in_agreement(collective, [&] { result = parse_corpus_vectors(bytes, key); });
  result.from_cache = from_cache;
  result.seconds = watch.elapsed();
  return result;
}

}  // namespace cllm::train
