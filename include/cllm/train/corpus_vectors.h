#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <vector>

#include "cllm/base/crew.h"
#include "cllm/base/memory.h"
#include "cllm/base/slab.h"
#include "cllm/data/dataset.h"
#include "cllm/data/token_file.h"
#include "cllm/kernels/kernels.h"
#include "cllm/train/collective.h"

namespace cllm::train {

struct CorpusOptions {
  int window = 4;           ///< tokens on either side that count as near; see Note [Co-occurrence]
  double smoothing = 0.75;  ///< power of the context distribution; see data::Ppmi
  std::size_t rank = 0;     ///< r: components of a vector
  std::uint64_t seed = 0;
  std::filesystem::path cache = {};  ///< directory where results are kept; empty: nowhere
  std::function<std::uint64_t()> free_bytes = available_memory;  ///< for this rank, now
};

/// What a corpus says about its tokens before anything was trained.
struct CorpusVectors {
  std::size_t vocabulary = 0;  ///< V
  std::size_t rank = 0;        ///< r
  /// (V, r): column j is the left singular vector j of the tokens' PPMI matrix M times σ_j^½, its
  /// largest component positive. Rows of tokens without neighbours are 0, as are columns beyond
  /// the rank of M (all of them where M is 0, as that of one token is).
  Slab<float> vectors;
  std::vector<double> singular_values;      ///< (r): σ, descending
  double energy = 0;                        ///< ‖M‖² (Frobenius)
  std::uint64_t nonzeros = 0;               ///< of M
  std::vector<std::uint64_t> token_counts;  ///< (V)
  double seconds = 0;                       ///< that this call took
  bool from_cache = false;

  /// Σσ² / ‖M‖², in [0, 1] but for rounding; 1 where M is 0.
  double energy_kept() const;
};

/// Co-occurrence, PPMI and its leading subspace, of `tokens`, which every rank has and which are
/// all below `vocabulary`; every rank gets the same bits, whatever the number of ranks and threads.
/// Rows of M are dealt to the ranks; memory is that of M's non-zeros (16 bytes each, dealt), 8
/// bytes per token (dealt), and five arrays of V·(r+16) floats on each rank. How many non-zeros
/// there are nobody knows beforehand, so that free memory is looked at while they are counted.
///
/// Where rank 0 finds in the cache what was made before from the same tokens and options, it reads
/// that; else it writes it. A file that is damaged, or of something else, is told of and made anew;
/// one that can't be written is told of. `progress` is called on rank 0.
///
/// To be called by all ranks, once `kernels::prepare_blas` was. Throws Error, on all ranks alike,
/// where an option is out of range or memory is short.
CorpusVectors corpus_vectors(Collective& collective, Crew& crew, const kernels::Kernels& kernels,
                             data::TokenView tokens, std::uint64_t vocabulary,
                             const CorpusOptions& options, const data::Progress& progress = {});

/// Bytes of a rank that `corpus_vectors` takes beside the non-zeros; `ranks` in all.
std::uint64_t corpus_bytes(std::uint64_t tokens, std::uint64_t vocabulary, std::size_t rank,
                           int ranks);

}  // namespace cllm::train
