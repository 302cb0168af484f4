#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "cllm/base/thread_pool.h"
#include "cllm/cli/run/settings.h"
#include "cllm/corpus/token_sample.h"
#include "cllm/data/document_rows.h"
#include "cllm/data/mixed_data.h"
#include "cllm/data/sequences.h"
#include "cllm/ranks/process_group.h"
#include "cllm/train/evaluator.h"

namespace cllm::cli {

/// How the options want data read.
struct Reading {
  bool packs_documents = false;  ///< --windows documents
  bool learns_prompts = false;   ///< --loss-on all
  bool attends_across = true;    ///< --attention-across-documents on
};

Reading reading_of(const TrainSettings& settings);
/// The same of a run's stored configuration; that of runs of before had none of these options.
Reading reading_in(const std::string& config);

/// A part with what of it is used. Throws Error that names it where attention is to keep to
/// documents and nobody knows where they begin.
data::RowSource row_source(const data::DataPart& part, const std::string& name,
                           const Reading& reading);

/// The rows of a part's documents, where they are packed; else null. They lie in the cache, or in
/// memory where `cache` is empty or the part is in no file. Rank 0 packs them where they aren't
/// there. Throws Error that names the part where nobody knows where its documents begin.
std::shared_ptr<const data::DocumentRows> rows_of_part(const data::DataPart& part,
                                                       const std::string& name,
                                                       const Reading& reading, std::size_t context,
                                                       const std::filesystem::path& cache,
                                                       bool packs);

/// What a run trains and validates with. The data must outlive it.
struct TrainingData {
  data::Sequences sequences;
  std::vector<train::EvaluatedText> validation;
  /// Of each source's training part; null where windows are read.
  std::vector<std::shared_ptr<const data::DocumentRows>> rows;
};

/// Puts it together; all ranks alike. Throws ReplicatedError.
TrainingData training_data(const data::MixedData& data, const data::Mixture& mixture,
                           const TrainSettings& settings, const std::filesystem::path& cache,
                           ranks::ProcessGroup& process_group);

/// The same with tokens as rows of the embedding: io::RunState::token_rows, which must outlive it.
/// No rows: as it is.
TrainingData by_rows(TrainingData training, std::span<const std::uint32_t> token_rows);

/// The row of each token, by its frequency in the training part, or in a sample of it: (V). All
/// ranks call it alike, and get rank 0's.
std::vector<std::uint32_t> rows_by_frequency(const data::Sequences& sequences,
                                             std::uint64_t vocabulary, ThreadPool& pool,
                                             ranks::ProcessGroup& process_group);

/// Of tokens that count, bytes of text per token where sources are drawn by their shares; none
/// where one is unknown.
std::optional<double> validation_bytes_per_token(const data::MixedData& data,
                                                 const data::Mixture& mixture,
                                                 const Reading& reading);

/// What a start from the corpus reads: of each source its share.
corpus::TokenSample corpus_sample(const data::Sequences& sequences, std::uint64_t most);

/// What there is to say of rows and of what counts, a line each.
std::vector<std::string> reading_lines(const data::MixedData& data, const TrainingData& training,
                                       const Reading& reading);

}  // namespace cllm::cli
