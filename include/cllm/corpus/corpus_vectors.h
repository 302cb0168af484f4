#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "cllm/base/aligned_buffer.h"
#include "cllm/base/thread_pool.h"
#include "cllm/corpus/token_sample.h"
#include "cllm/data/dataset.h"
#include "cllm/kernels/kernels.h"
#include "cllm/ranks/process_group.h"

namespace cllm::corpus {

/// Pairs of tokens that are kept, at most but for a few per cent; Note [Bounded pairs].
inline constexpr std::uint64_t kMostPairs = std::uint64_t{1} << 25;

struct CorpusOptions {
  int window = 4;           ///< tokens on either side that count as near; see Note [Co-occurrence]
  double smoothing = 0.75;  ///< power of the context distribution; see Ppmi
  std::size_t rank = 0;     ///< r: components of a vector
  std::uint64_t seed = 0;
  std::filesystem::path cache = {};  ///< directory where results are kept; empty: nowhere
  std::uint64_t most_pairs = kMostPairs;
};

/// What a corpus says about its tokens before anything was trained.
struct CorpusVectors {
  std::size_t vocabulary = 0;  ///< V
  std::size_t rank = 0;        ///< r
  /// (V, r): column j is the left singular vector j of the tokens' PPMI matrix M times σ_j^½, its
  /// largest component positive. Rows of tokens without neighbours are 0, as are columns beyond
  /// the rank of M (all of them where M is 0, as that of one token is).
  AlignedBuffer<float> vectors;
  std::vector<double> singular_values;      ///< (r): σ, descending
  double energy = 0;                        ///< ‖M‖² (Frobenius)
  std::uint64_t nonzeros = 0;               ///< of M
  std::vector<std::uint64_t> token_counts;  ///< (V), in the sample
  double seconds = 0;                       ///< that it took
  bool from_cache = false;

  /// Σσ² / ‖M‖², in [0, 1] but for rounding; 1 where M is 0.
  double energy_kept() const;
};

/// How a sample's pairs were found to lie before all of them are counted.
struct PairSurvey {
  std::vector<std::uint64_t> token_counts;  ///< (V)
  std::uint64_t pairs = 0;                  ///< that are kept, of all ranks, but for a few per cent
  std::size_t least_class = 0;              ///< of a pair that is kept; 0: any
};

/// Co-occurrence, PPMI and its leading subspace, of a sample of a corpus that every rank has and
/// whose tokens are all below `vocabulary`; every rank gets the same bits, whatever the number of
/// ranks and threads. Rows of M are dealt to the ranks.
///
/// Where rank 0 finds in the cache what was made before from the same tokens and options, it reads
/// that; else it writes it. A file that is damaged, or of something else, is told of and made anew;
/// one that can't be written is told of. `progress` is called on rank 0.
///
/// All ranks call the same functions in the same order, once `kernels::prepare_blas` was. What goes
/// wrong throws Error on all ranks alike.
class CorpusStudy {
 public:
  /// Looks into the cache; where it has nothing, counts some of the pairs, to know what all of them
  /// take. The references and the sample's tokens must outlive it. Throws Error where an option is
  /// out of range.
  CorpusStudy(ranks::ProcessGroup& process_group, ThreadPool& pool, const kernels::Kernels& kernels,
              const TokenSample& sample, std::uint64_t vocabulary, CorpusOptions options,
              const data::Progress& progress = {});

  const TokenSample& sample() const { return sample_; }

  /// Bytes that `vectors` will take on this rank, and give back.
  std::uint64_t bytes() const;

  /// To be called once.
  CorpusVectors vectors();

 private:
  CorpusVectors compute();
  std::string find_cached(const std::string& key) const;
  void store(const std::string& bytes) const;
  void say(const std::string& message) const;

  ranks::ProcessGroup& process_group_;
  ThreadPool& pool_;
  const kernels::Kernels& kernels_;
  TokenSample sample_;
  std::size_t vocabulary_;
  CorpusOptions options_;
  data::Progress progress_;
  std::string key_;     // on all ranks
  std::string cached_;  // on rank 0: what the cache has
  bool is_cached_ = false;
  PairSurvey survey_;
  double seconds_ = 0;
};

/// All of it at once.
CorpusVectors corpus_vectors(ranks::ProcessGroup& process_group, ThreadPool& pool,
                             const kernels::Kernels& kernels, const TokenSample& sample,
                             std::uint64_t vocabulary, const CorpusOptions& options,
                             const data::Progress& progress = {});

/// Bytes of one of `ranks` for so many pairs of so many tokens, the sample's pages included.
std::uint64_t corpus_bytes(std::uint64_t tokens, std::uint64_t pairs, std::uint64_t vocabulary,
                           std::size_t rank, int ranks, int threads);

/// What the vectors take at most, over all ranks, in floating-point operations of training in the
/// same time (measured: docs/lattice.md).
double corpus_work(std::uint64_t tokens, std::uint64_t vocabulary, std::size_t rank);

}  // namespace cllm::corpus
