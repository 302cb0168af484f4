#pragma once

#include <cstddef>
#include <cstdint>

#include "cllm/base/thread_pool.h"
#include "cllm/corpus/corpus_vectors.h"
#include "cllm/corpus/subspace.h"
#include "cllm/corpus/token_sample.h"
#include "cllm/ranks/process_group.h"

/// Note [Bounded pairs]
///
/// The longer a corpus, the more pairs of tokens it has, most of them seen once or twice and by
/// chance. Only the strongest are kept: those of which n_ij is the largest share of all that the
/// rarer of the two stands beside, n_ij / min(s_i, s_j). So a rare token keeps its few neighbours,
/// and frequent ones lose what they met by chance; and M has an element where its transpose has.
///
/// Shares fall into classes, 16 to an octave. How many pairs each class has is known beforehand
/// from a sixteenth of the rows, evenly spaced by frequency: so is the lowest class that has room,
/// the same on all ranks, and the memory. That quotients of integers are rounded in one way
/// everywhere makes classes the same on every processor.
namespace cllm::corpus {

/// The tokens' PPMI matrix M, dealt to ranks.
struct PpmiMatrix {
  SparseMatrix matrix;
  double energy = 0;           // ‖M‖²
  std::uint64_t nonzeros = 0;  // of all ranks
};

/// To be called by all ranks, as is what follows. Throws Error, on all ranks alike, where an option
/// is out of range.
PairSurvey survey_pairs(ranks::ProcessGroup& process_group, ThreadPool& pool,
                        const TokenSample& sample, std::size_t vocabulary,
                        const CorpusOptions& options);

PpmiMatrix make_matrix(ranks::ProcessGroup& process_group, ThreadPool& pool,
                       const TokenSample& sample, const PairSurvey& survey,
                       const CorpusOptions& options);

/// Bytes of one of `ranks` while rows are counted, beside the matrix.
std::uint64_t counting_bytes(std::uint64_t tokens, std::uint64_t vocabulary, int ranks,
                             int threads);

}  // namespace cllm::corpus
