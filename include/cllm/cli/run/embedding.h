#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "cllm/base/thread_pool.h"
#include "cllm/cli/run/settings.h"
#include "cllm/cli/run/starting_point.h"
#include "cllm/corpus/corpus_vectors.h"
#include "cllm/data/sequences.h"
#include "cllm/data/tokenizer.h"
#include "cllm/kernels/kernels.h"
#include "cllm/lattice/certificates/certificate.h"
#include "cllm/model/layout.h"
#include "cllm/ranks/process_group.h"

namespace cllm::cli {

/// How a run's token embedding came about: what its checkpoints carry on.
struct EmbeddingHistory {
  std::string facts = "{}";  ///< a JSON object; see docs/checkpoint_format.md
  /// On rank 0, by bands: where a factorised one started in one.
  std::map<std::size_t, lattice::Certificate> lattices;
};

/// Of the embedding in the checkpoint that the run starts from. Throws Error.
EmbeddingHistory embedding_history(const StartingPoint& start);

/// Tokens that a start from the corpus reads at most, unless --embedding-sample says otherwise.
inline constexpr std::uint64_t kSampleTokens = 100'000'000;

/// How many of the corpus' `tokens` a start from the corpus reads. Where no option asks for what
/// only the corpus gives, so many that it takes a small share of the run, by counts of operations
/// alone, so that they are the same on any machine; where that leaves too few to say something, a
/// new run's start becomes random. Call it once the embedding is resolved. Returns what there is to
/// say of it, or nothing.
std::string plan_embedding_start(const StartingPoint& start, const CLI::App& app,
                                 std::uint64_t tokens, TrainSettings& settings);

/// Bytes of a rank that a start from the corpus takes at most where --embedding-init is left out; 0
/// where it is random then.
std::uint64_t usual_statistics(const model::ModelConfig& shape, int ranks, int threads);

/// What a new token embedding is made from.
struct EmbeddingSources {
  const TrainSettings& settings;
  const data::Tokenizer* tokenizer;  ///< null where unknown
  const kernels::Kernels& kernels;
  const model::Layout& layout;
  std::span<const std::uint32_t> token_rows;  ///< io::RunState
  ThreadPool& pool;
  corpus::CorpusStudy* study;                   ///< of the corpus; null where the start is random
  std::function<void(const std::string&)> say;  ///< on rank 0
};

/// The row of each token in the token embedding: of a model with bands by frequency, or as the
/// starting point's checkpoint has it; else empty. All ranks call it alike. Throws Error, on all
/// alike.
std::vector<std::uint32_t> token_rows_of(const StartingPoint& start,
                                         const model::ModelConfig& shape,
                                         const data::Sequences& sequences, ThreadPool& pool,
                                         ranks::ProcessGroup& process_group);

/// Puts the token embedding of a new run where --embedding-init wants it; `parameters`, a flat
/// buffer of the layout, have been initialised. All ranks call it; all get rank 0's bits, and
/// memory is that of `corpus::CorpusStudy`. Throws Error, on all ranks alike.
EmbeddingHistory start_embedding(const EmbeddingSources& from, ranks::ProcessGroup& process_group,
                                 std::span<float> parameters);

}  // namespace cllm::cli
