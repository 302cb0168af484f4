#include "cllm/cli/run/run_summary.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "cllm/base/quantities.h"
#include "cllm/cli/program.h"
#include "cllm/cli/run/checkpoints.h"
#include "cllm/data/builtin/builtin_corpus.h"
#include "cllm/train/progress.h"
#include "cllm/train/work_sharing.h"

namespace cllm::cli {
namespace {

/// Below this the mean of their losses, which differ by some 2 nats, is uncertain by a tenth.
constexpr std::size_t kFewToValidate = 500;

std::string part_text(const data::DataPart& part) {
  std::string text = count_text(static_cast<double>(part.tokens.size())) + " tokens";
  if (part.source_bytes > 0) {
    text += fmt::format(" ({} bytes)", count_text(static_cast<double>(part.source_bytes)));
  }
  return text;
}

/// What a run reads, a line for each source.
std::vector<std::string> data_lines(const RunFacts& facts) {
  const TrainSettings& s = facts.request.settings;
  const data::MixedData& data = facts.data;
  const data::Mixture& mixture = facts.training.sequences.mixture();
  std::vector<std::string> lines;
  for (std::size_t i = 0; i < data.sources.size(); ++i) {
    const data::Dataset& source = data.sources[i];
    std::string line = fmt::format("data    {} ({}): train {}", data.names[i], source.train.format,
                                   part_text(source.train));
    if (i < data.validated()) {
      line += ", validation ";
      if (!s.validation_data.empty()) {
        line += fmt::format("{} ({}) ", s.validation_data, source.validation.format);
      }
      line += part_text(source.validation);
    }
    if (data.sources.size() > 1) {
      line += fmt::format("; {:.3g} % of the sequences", 100 * mixture.share(i));
    }
    lines.push_back(line);
  }
  return lines;
}

/// How often a run reads its data.
std::string epochs_text(const RunFacts& facts) {
  const TrainSettings& s = facts.request.settings;
  const auto& sources = facts.training.sequences.sources();
  const data::Mixture& mixture = facts.training.sequences.mixture();
  const std::uint64_t end = std::max(s.steps * s.batch, mixture.from());
  const std::vector<std::uint64_t> taken = mixture.taken(end);
  std::vector<std::string> times;
  for (std::size_t i = 0; i < sources.size(); ++i) {
    times.push_back(fmt::format(
        "{:.2f}",
        static_cast<double>(taken[i]) / static_cast<double>(sources[i].order->rows_per_epoch())));
  }
  if (times.size() == 1) return fmt::format("the run reads the data {} times", times.front());
  return fmt::format("the run reads the sources {} times", fmt::join(times, ", "));
}

/// Where the last micro-batch of a batch is smaller.
std::string last_micro_batch_text(const TrainSettings& s) {
  const std::size_t left = s.batch % s.micro_batch;
  return left == 0 ? "" : fmt::format(", the last of {}", left);
}

/// What bands are, and what they save.
std::string bands_text(const model::ModelConfig& shape) {
  std::string text;
  const std::vector<model::EmbeddingBand> bands = shape.table_bands();
  for (const model::EmbeddingBand& band : bands) {
    text += fmt::format("{}{} x {}", text.empty() ? "" : " + ", band.rows, band.rank);
  }
  const auto has = static_cast<double>(model::weights_of(bands, shape.channels));
  const auto dense = static_cast<double>(shape.vocabulary * shape.channels);
  return fmt::format("{}, {:.0f} % of the parameters of a dense one gone", text,
                     100 * (1 - has / dense));
}

}  // namespace

std::vector<std::string> sharing_notes(const TrainSettings& s,
                                       const std::vector<ranks::Site>& sites) {
  const std::size_t rows = s.micro_batch * s.shape.context;
  const std::size_t blocks = (rows + s.token_block - 1) / s.token_block;
  int threads = 0, busy = 0, largest_team = 0;
  for (std::size_t rank = 0; rank < sites.size(); ++rank) {
    threads += sites[rank].threads;
    const std::size_t micro_batches =
        train::share_of(train::count_micro_batches(s.batch, s.micro_batch), rank, sites.size())
            .count;
    if (micro_batches == 0) continue;
    for (const int team : train::plan_teams(sites[rank].threads, micro_batches, blocks, s.team)) {
      busy += team;
      largest_team = std::max(largest_team, team);
    }
  }
  std::vector<std::string> notes;
  if (busy < threads) {
    notes.push_back(
        fmt::format("{} of {} threads have no micro-batch to compute; give a smaller "
                    "--micro-batch, a larger --batch, or fewer threads",
                    threads - busy, threads));
  }
  if (static_cast<std::size_t>(largest_team) > blocks) {
    notes.push_back(
        fmt::format("{} threads share a micro-batch of {} token block{}, and some wait; give a "
                    "--token-block of "
                    "{} or less, a smaller --micro-batch, or fewer threads",
                    largest_team, blocks, blocks == 1 ? "" : "s",
                    std::max<std::size_t>(1, rows / static_cast<std::size_t>(largest_team))));
  }
  return notes;
}

std::vector<std::string> run_summary(const RunFacts& facts) {
  const auto count = [](std::uint64_t n) { return count_text(static_cast<double>(n)); };
  const TrainSettings& s = facts.request.settings;
  std::vector<std::string> lines = {
      fmt::format("cllm-dist {}: {} steps into {}", version(), s.steps, facts.directory.string()),
      fmt::format("model   {}: {}; {} parameters", s.preset, model::shape_text(s.shape),
                  count(facts.parameters)),
  };
  if (s.shape.has_bands()) lines.push_back("embedding " + bands_text(s.shape));
  if (facts.trained < facts.parameters) {
    lines.push_back(fmt::format("frozen  {}; trains {} of {} parameters", s.freeze.text(),
                                count(facts.trained), count(facts.parameters)));
  }
  for (const std::string& line : data_lines(facts)) lines.push_back(line);
  for (const std::string& line : reading_lines(facts.data, facts.training, reading_of(s))) {
    lines.push_back(line);
  }
  lines.push_back(fmt::format("batch   {} x {} tokens in micro-batches of {}{}; {}", s.batch,
                              s.shape.context, s.micro_batch, last_micro_batch_text(s),
                              epochs_text(facts)));
  lines.push_back(fmt::format("memory  {}", facts.budget));
  if (s.fine_tunes) {
    lines.push_back(fmt::format(
        "tuning  {} with a learning rate of up to {:.3g}{} and {} steps of warm-up",
        s.optimizer.name, s.learning_rate,
        is_given(facts.request.app, "--lr") ? "" : ", usual where a model is trained", s.warmup));
  }
  const char* label = "hosts   ";
  for (const std::string& line : ranks::site_table(facts.sites)) {
    lines.push_back(std::exchange(label, "        ") + line);
  }
  for (const std::string& note : ranks::placement_notes(facts.sites)) {
    lines.push_back("note    " + note);
  }
  const bool is_builtin = s.data.size() == 1 && s.data.front().path == "builtin";
  if (is_builtin && s.validation_data.empty()) {
    lines.push_back(fmt::format(
        "note    best possible loss on this corpus: {:.4f}, the entropy of its grammar in nats per "
        "token",
        data::builtin_entropy_rate() *
            facts.data.sources.front().validation.bytes_per_token().value_or(0)));
  }
  for (const std::string& note : sharing_notes(s, facts.sites)) {
    lines.push_back("note    " + note);
  }
  std::size_t to_validate = 0;
  for (std::size_t i = 0; i < facts.data.validated(); ++i) {
    to_validate += facts.data.sources[i].validation.tokens.size();
  }
  if (to_validate < kFewToValidate) {
    lines.push_back(
        fmt::format("note    only {} tokens validate: their loss, by which the best checkpoint is "
                    "kept, says little; give more data, or --validation-data",
                    to_validate));
  }
  if (facts.data.tokenizer() != nullptr && !facts.data.tokenizer()->lossless()) {
    lines.emplace_back(
        "note    the tokenizer normalises text or lacks byte tokens: not every text comes back as "
        "it was");
  }
  return lines;
}

}  // namespace cllm::cli
