#include "cllm/cli/run/training_data.h"

#include <fmt/format.h>

#include <utility>

#include "cllm/base/digest.h"
#include "cllm/base/error.h"
#include "cllm/base/file.h"
#include "cllm/base/quantities.h"
#include "cllm/cli/arguments.h"
#include "cllm/cli/run/checkpoints.h"
#include "cllm/corpus/token_counts.h"
#include "cllm/corpus/ulam_order.h"
#include "cllm/ranks/agreement.h"
#include "cllm/train/progress.h"

namespace cllm::cli {
namespace {

namespace fs = std::filesystem;
using data::DocumentRows;

/// Of a larger corpus a sample says as well which tokens are frequent.
constexpr std::uint64_t kCountedTokens = 100'000'000;

void require_documents(const data::DataPart& part, const std::string& name, const char* option) {
  if (part.documents().known()) return;
  fail(
      "{}: nobody knows where the documents of {} begin; give its text, or make it anew with "
      "`cllm-dist tokenize`, or leave the option out",
      option, name);
}

std::string count_of(std::uint64_t count, const char* thing) {
  return fmt::format("{} {}{}", count_text(static_cast<double>(count)), thing,
                     count == 1 ? "" : "s");
}

/// The table of a part's rows has a name that follows from all that it depends on.
fs::path table_of(const data::DataPart& part, std::size_t context, const fs::path& cache) {
  const std::string all =
      fmt::format("{} {} {} {} {}", part.file->token_digest(), part.file->info().marks_digest,
                  part.first, part.tokens.size(), context);
  return cache / (digest_hex(std::as_bytes(std::span(all))).substr(0, 16) + ".rows");
}

/// Makes a table unless a whole one is there.
void pack(const fs::path& path, const data::DataPart& part, std::size_t context) {
  const std::uint64_t tokens = part.tokens.size();
  if (fs::exists(path)) {
    try {
      const DocumentRows whole(path, tokens, context, true);
      return;
    } catch (const Error&) {
      // A damaged cache is no reason to stop: what it held can be made again.
    }
  }
  make_directories(path.parent_path());
  DocumentRows::write(path, part.documents(), tokens, context);
}

}  // namespace

Reading reading_of(const TrainSettings& s) {
  return {s.packs_documents, s.learns_prompts, s.attends_across};
}

Reading reading_in(const std::string& config) {
  return {.packs_documents = value_in_toml(config, "windows") == "documents",
          .learns_prompts = value_in_toml(config, "loss-on") != "completions",
          .attends_across = value_in_toml(config, "attention-across-documents") != "off"};
}

data::RowSource row_source(const data::DataPart& part, const std::string& name,
                           const Reading& reading) {
  data::RowSource source{.tokens = part.tokens};
  if (!reading.learns_prompts) source.mask = part.mask();
  if (!reading.attends_across) {
    require_documents(part, name, "--attention-across-documents off");
    source.documents = part.documents();
  }
  return source;
}

std::shared_ptr<const DocumentRows> rows_of_part(const data::DataPart& part,
                                                 const std::string& name, const Reading& reading,
                                                 std::size_t context, const fs::path& cache,
                                                 bool packs) {
  if (!reading.packs_documents) return nullptr;
  require_documents(part, name, "--windows documents");
  const std::uint64_t tokens = part.tokens.size();
  if (cache.empty() || part.file->info().format == "memory") {
    return std::make_shared<const DocumentRows>(part.documents(), tokens, context);
  }
  const fs::path path = table_of(part, context, cache);
  if (packs) pack(path, part, context);
  return std::make_shared<const DocumentRows>(path, tokens, context);
}

TrainingData training_data(const data::MixedData& data, const data::Mixture& mixture,
                           const TrainSettings& s, const fs::path& cache,
                           ranks::ProcessGroup& process_group) {
  const Reading reading = reading_of(s);
  const std::size_t context = s.shape.context;
  std::vector<std::shared_ptr<const DocumentRows>> rows, validation_rows;
  // Rank 0 packs before the others open what it packed.
  for (const bool packs : {true, false}) {
    ranks::in_agreement(process_group, [&] {
      if (packs != (process_group.rank() == 0)) return;
      for (std::size_t i = 0; i < data.sources.size(); ++i) {
        const data::Dataset& source = data.sources[i];
        rows.push_back(rows_of_part(source.train, data.names[i], reading, context, cache, packs));
        if (i >= data.validated()) continue;
        validation_rows.push_back(
            rows_of_part(source.validation, data.names[i], reading, context, cache, packs));
      }
    });
  }
  std::optional<TrainingData> result;
  ranks::in_agreement(process_group, [&] {
    std::vector<data::Sequences::Source> sources;
    std::vector<train::EvaluatedText> texts;
    for (std::size_t i = 0; i < data.sources.size(); ++i) {
      const data::Dataset& source = data.sources[i];
      const data::RowSource train = row_source(source.train, data.names[i], reading);
      std::shared_ptr<const data::RowOrder> order;
      if (rows[i]) {
        order = std::make_shared<data::DocumentOrder>(s.seed, rows[i]);
      } else {
        order = std::make_shared<data::WindowSampler>(s.seed, train.tokens.size(), context);
      }
      sources.push_back({train, std::move(order)});
      if (i >= data.validated()) continue;
      texts.push_back({.name = data.names[i],
                       .rows = row_source(source.validation, data.names[i], reading),
                       .weight = data.validated() == 1 ? 1 : mixture.share(i),
                       .documents = validation_rows[i]});
    }
    result.emplace(TrainingData{data::Sequences(std::move(sources), mixture), std::move(texts),
                                std::move(rows)});
  });
  return *std::move(result);
}

TrainingData by_rows(TrainingData training, std::span<const std::uint32_t> token_rows) {
  if (token_rows.empty()) return training;
  std::vector<data::Sequences::Source> sources = training.sequences.sources();
  for (data::Sequences::Source& source : sources) {
    source.rows.tokens = source.rows.tokens.renamed(token_rows);
  }
  training.sequences = data::Sequences(std::move(sources), training.sequences.mixture());
  for (train::EvaluatedText& text : training.validation) {
    text.rows.tokens = text.rows.tokens.renamed(token_rows);
  }
  return training;
}

std::vector<std::uint32_t> rows_by_frequency(const data::Sequences& sequences,
                                             std::uint64_t vocabulary, ThreadPool& pool,
                                             ranks::ProcessGroup& process_group) {
  std::vector<std::uint32_t> rows;
  ranks::in_agreement(process_group, [&] {
    if (process_group.rank() != 0) return;
    const corpus::TokenSample sample = corpus_sample(sequences, kCountedTokens);
    rows = corpus::frequency_ranks(corpus::count_tokens(sample, vocabulary, pool));
  });
  return token_rows_of_rank_0(std::move(rows), process_group);
}

std::optional<double> validation_bytes_per_token(const data::MixedData& data,
                                                 const data::Mixture& mixture,
                                                 const Reading& reading) {
  double sum = 0, weights = 0;
  for (std::size_t i = 0; i < data.validated(); ++i) {
    const data::DataPart& part = data.sources[i].validation;
    const std::optional<double> bytes =
        reading.learns_prompts ? part.bytes_per_token() : part.bytes_per_counted_token();
    if (!bytes) return {};
    const double weight = data.validated() == 1 ? 1 : mixture.share(i);
    sum += weight * *bytes;
    weights += weight;
  }
  return sum / weights;
}

corpus::TokenSample corpus_sample(const data::Sequences& sequences, std::uint64_t most) {
  std::vector<corpus::TokenSample::Source> sources;
  for (std::size_t i = 0; i < sequences.sources().size(); ++i) {
    sources.push_back({sequences.sources()[i].rows.tokens, sequences.mixture().share(i)});
  }
  return corpus::TokenSample(sources, most);
}

std::vector<std::string> reading_lines(const data::MixedData& data, const TrainingData& training,
                                       const Reading& reading) {
  std::vector<std::string> lines;
  for (std::size_t i = 0; i < data.sources.size(); ++i) {
    if (const auto& rows = training.rows[i]) {
      const data::PackingFigures& f = rows->figures();
      const double positions = static_cast<double>(f.rows) * static_cast<double>(rows->context());
      std::string line =
          fmt::format("rows    {}: {} in {}, {:.1f} % of them padding", data.names[i],
                      count_of(f.documents, "document"), count_of(f.rows, "row"),
                      100 * static_cast<double>(f.padding) / positions);
      if (f.long_ones > 0) {
        line += fmt::format("; {} longer than a row go{} on in {} further", f.long_ones,
                            f.long_ones == 1 ? "es" : "", f.continued);
      }
      lines.push_back(line);
    }
    const data::DataPart& part = data.sources[i].train;
    if (reading.learns_prompts || part.mask().empty()) continue;
    lines.push_back(fmt::format(
        "loss    {}: {:.1f} % of its tokens count, those of completions and assistants; "
        "--loss-on all counts all",
        data.names[i],
        100 * static_cast<double>(part.counted) / static_cast<double>(part.tokens.size())));
  }
  return lines;
}

}  // namespace cllm::cli
