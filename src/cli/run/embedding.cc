#include "cllm/cli/run/embedding.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "cllm/base/error.h"
#include "cllm/base/quantities.h"
#include "cllm/cli/run/checkpoints.h"
#include "cllm/cli/run/training_data.h"
#include "cllm/corpus/corpus_start.h"
#include "cllm/corpus/corpus_vectors.h"
#include "cllm/io/checkpoint.h"
#include "cllm/io/formats/model_file.h"
#include "cllm/model/flops.h"
#include "cllm/model/initialize.h"
#include "cllm/ranks/agreement.h"
#include "cllm/train/progress.h"

namespace cllm::cli {
namespace {

/// The bands of the token embedding, each a matrix or two factors.
std::vector<corpus::BandPlace> bands_of(const model::Layout& layout, std::span<float> parameters) {
  const auto tensor = [&](std::size_t index) {
    return parameters.subspan(layout[index].offset, layout[index].size());
  };
  std::vector<corpus::BandPlace> places;
  for (const model::TableBand& band : layout.embedding()) {
    places.push_back({.rows = band.rows,
                      .tokens = tensor(band.tensor),
                      .basis = band.basis ? tensor(*band.basis) : std::span<float>()});
  }
  return places;
}

std::string bytes_of(const std::vector<corpus::BandPlace>& bands) {
  std::string bytes;
  for (const corpus::BandPlace& band : bands) {
    for (const std::span<float> part : {band.tokens, band.basis}) {
      bytes.append(reinterpret_cast<const char*>(part.data()), part.size_bytes());
    }
  }
  return bytes;
}

void fill(const std::string& bytes, const std::vector<corpus::BandPlace>& bands) {
  const char* from = bytes.data();
  for (const corpus::BandPlace& band : bands) {
    for (const std::span<float> part : {band.tokens, band.basis}) {
      std::copy_n(from, part.size_bytes(), reinterpret_cast<char*>(part.data()));
      from += part.size_bytes();
    }
  }
}

/// Of a run's operations, what its start from the corpus may take.
constexpr double kShareOfRun = 0.03;

/// A smaller sample of a corpus has too little to say of most tokens: so many for each of the
/// vocabulary.
constexpr std::uint64_t kTokensOfEach = 20;

/// What a token has in a sample where it has `count` in the corpus, rounded up.
std::uint64_t in_sample(std::uint64_t count, const corpus::TokenSample& sample) {
  return static_cast<std::uint64_t>(std::ceil(static_cast<double>(count) * sample.share()));
}

std::string share_text(const corpus::TokenSample& sample) {
  if (sample.size() == sample.corpus_size()) return "the corpus";
  return fmt::format("{:.2g} % of the corpus", 100 * sample.share());
}

}  // namespace

std::string plan_embedding_start(const StartingPoint& start, const CLI::App& app,
                                 std::uint64_t tokens, TrainSettings& s) {
  const auto given = [&](const char* option) { return app.count(option) > 0; };
  if (s.embedding_start != EmbeddingStart::kCorpus || given("--embedding-sample")) return {};
  const model::Layout layout(s.shape);
  const double of_run = static_cast<double>(s.steps) *
                        static_cast<double>(s.batch * s.shape.context) *
                        model::training_flops_per_token(layout);
  const auto share = [&](std::uint64_t sample) {
    return corpus::corpus_work(sample, s.shape.vocabulary, s.shape.embedding_width()) / of_run;
  };
  const std::uint64_t most = std::min(tokens, kSampleTokens);
  s.embedding_sample = most;
  const bool asked =
      given("--embedding-init") || given("--embedding-basis") || given("--rare-tokens");
  if (asked || share(most) <= kShareOfRun) return {};
  s.embedding_sample = 0;
  for (std::uint64_t bit = std::bit_floor(most); bit > 0; bit /= 2) {
    const std::uint64_t larger = s.embedding_sample + bit;
    if (larger <= most && share(larger) <= kShareOfRun) s.embedding_sample = larger;
  }
  const std::uint64_t least = std::min(most, kTokensOfEach * s.shape.vocabulary);
  if (s.embedding_sample >= least || start.kind != StartingPoint::Kind::kNew) return {};
  s.embedding_start = EmbeddingStart::kRandom;
  s.embedding_sample = 0;
  return fmt::format(
      "note    the token embedding starts from random numbers: to start it from the corpus would "
      "take {:.2g} times as long as {} steps; give --embedding-init corpus to have it all the same",
      share(most), s.steps);
}

std::uint64_t usual_statistics(const model::ModelConfig& shape, int ranks, int threads) {
  if (!starts_from_corpus(shape)) return 0;
  return corpus::corpus_bytes(kSampleTokens, corpus::kMostPairs, shape.vocabulary,
                              shape.embedding_width(), ranks, threads);
}

EmbeddingHistory embedding_history(const StartingPoint& start) {
  return {.facts = embedding_facts(start.state),
          .lattices = io::read_model_head(start.checkpoint).run.lattices};
}

std::vector<std::uint32_t> token_rows_of(const StartingPoint& start,
                                         const model::ModelConfig& shape,
                                         const data::Sequences& sequences, ThreadPool& pool,
                                         ranks::ProcessGroup& process_group) {
  if (!shape.has_bands()) return {};
  if (start.kind == StartingPoint::Kind::kNew) {
    return rows_by_frequency(sequences, shape.vocabulary, pool, process_group);
  }
  std::vector<std::uint32_t> rows;
  ranks::in_agreement(process_group, [&] {
    if (process_group.rank() != 0) return;
    rows = io::read_model_head(start.checkpoint).run.token_rows;
    if (rows.size() == shape.vocabulary) return;
    fail("{} holds a model of {}, but the options ask for {}; leave out the options that differ",
         start.checkpoint, model::shape_text(start.model), model::shape_text(shape));
  });
  return token_rows_of_rank_0(std::move(rows), process_group);
}

EmbeddingHistory start_embedding(const EmbeddingSources& from, ranks::ProcessGroup& process_group,
                                 std::span<float> parameters) {
  const TrainSettings& s = from.settings;
  EmbeddingHistory history;
  if (from.study == nullptr) {
    history.facts = nlohmann::json{{"init", "random"}}.dump();
    return history;
  }
  corpus::CorpusVectors vectors = from.study->vectors();
  const auto bands = bands_of(from.layout, parameters);
  const std::string bytes = ranks::on_rank_0(process_group, [&] {
    std::optional<corpus::Signatures> signatures;
    if (from.tokenizer != nullptr) signatures.emplace(*from.tokenizer, from.kernels);
    const corpus::StartedEmbedding started = corpus::start_from_corpus(
        vectors, signatures ? &*signatures : nullptr,
        {.lattice = s.embedding_basis == EmbeddingBasis::kLattice,
         .rare_below = in_sample(s.rare_tokens, from.study->sample())},
        from.pool,
        {.bands = bands,
         .token_rows = from.token_rows,
         .deviation = model::embedding_deviation(from.layout.config(), vectors.rank)});
    history.lattices = started.lattices;
    history.facts = nlohmann::json{{"init", "corpus"},
                                   {"sample", from.study->sample().size()},
                                   {"sample_share", from.study->sample().share()},
                                   {"energy_kept", vectors.energy_kept()},
                                   {"rare_tokens", started.rare.rare},
                                   {"from_relatives", started.rare.started}}
                        .dump();
    const std::string rare =
        started.rare.rare == 0
            ? ""
            : fmt::format("; {} of {} rare tokens start from tokens that share their pieces",
                          started.rare.started, started.rare.rare);
    from.say(fmt::format(
        "note    the token embedding starts from {}, read in {:.1f} s{}: {} dimensions explain "
        "{:.1f} % of the co-occurrences of {} pairs of tokens{}",
        share_text(from.study->sample()), vectors.seconds,
        vectors.from_cache ? " (from the cache)" : "", vectors.rank, 100 * vectors.energy_kept(),
        count_text(static_cast<double>(vectors.nonzeros)), rare));
    return bytes_of(bands);
  });
  fill(bytes, bands);
  return history;
}

}  // namespace cllm::cli
