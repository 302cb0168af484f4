#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <optional>
#include <utility>

#include "cllm/base/error.h"
#include "cllm/cli/commands/commands.h"
#include "cllm/cli/machine/machine.h"
#include "cllm/cli/run/checkpoints.h"
#include "cllm/cli/run/training_data.h"
#include "cllm/corpus/token_counts.h"
#include "cllm/data/dataset.h"
#include "cllm/ranks/agreement.h"
#include "cllm/train/evaluator.h"
#include "cllm/train/saved_state.h"

namespace cllm::cli {

namespace {

/// Where the classes of tokens by their number of occurrences begin.
constexpr std::array<std::uint64_t, 10> kFrequencies = {0, 1, 2, 5, 10, 20, 50, 100, 1000, 10000};

/// The class of each token.
std::vector<std::uint8_t> frequency_classes(const std::vector<std::uint64_t>& counts) {
  std::vector<std::uint8_t> classes;
  for (const std::uint64_t count : counts) {
    const auto next = std::ranges::upper_bound(kFrequencies, count);
    classes.push_back(static_cast<std::uint8_t>(next - kFrequencies.begin() - 1));
  }
  return classes;
}

/// "never", "1", "2-4", "10000 and more".
std::string frequency_name(std::size_t index) {
  const std::uint64_t first = kFrequencies[index];
  if (first == 0) return "never";
  if (index + 1 == kFrequencies.size()) return fmt::format("{} and more", first);
  const std::uint64_t last = kFrequencies[index + 1] - 1;
  return first == last ? fmt::format("{}", first) : fmt::format("{}-{}", first, last);
}

void print_by_frequency(std::span<const train::Evaluation> results,
                        std::span<const std::uint8_t> class_of, const std::string& where) {
  fmt::print("\nby how often a token is in {}\n", where);
  fmt::print("{:<16} {:>16} {:>12} {:>10}\n", "occurrences", "different tokens", "tokens", "loss");
  for (std::size_t i = 0; i < results.size(); ++i) {
    if (results[i].positions == 0) continue;
    fmt::print("{:<16} {:>16} {:>12} {:>10.6f}\n", frequency_name(i),
               std::ranges::count(class_of, static_cast<std::uint8_t>(i)), results[i].positions,
               results[i].loss);
  }
}

}  // namespace

void declare_eval_options(CLI::App& app, EvalSettings& s) {
  add_option(app, "--checkpoint", s.checkpoint, kModelHelp)->type_name("PATH")->required();
  add_option(app, "--data", s.data, "FILE of text or JSON lines, DIR of them, or token FILE")
      ->type_name("PATH")
      ->required();
  add_option(app, "--eval-sequences", s.sequences, sequences_format(),
             "evenly spaced sequences to read");
  add_option(app, "--by-frequency", s.by_frequency,
             "text FILE, DIR or token FILE, like the training data: also the losses of tokens that "
             "are rare and frequent in it")
      ->type_name("PATH");
  add_option(app, "--threads", s.threads,
             "threads of each rank [its share of the host's processors]")
      ->type_name("N");
}

void eval_command(const EvalSettings& settings, ranks::ProcessGroup& process_group) {
  ranks::in_agreement(process_group, [&] {
    if (settings.threads < 0) fail("--threads {}: give at least 1", settings.threads);
  });
  const int threads = prepare_machine(settings.threads, {}, process_group).threads;
  std::optional<LoadedModel> loaded;
  data::DataPart part;
  std::optional<train::Evaluator> evaluator;
  std::vector<std::uint8_t> class_of;
  std::vector<std::string> notes;
  std::string counted_in;
  Reading reading;
  CheckpointHead head = read_head(settings.checkpoint, process_group);
  ranks::in_agreement(process_group, [&] {
    loaded.emplace(std::move(head));
    const auto load = [&](const std::string& path) {
      data::DataPart loaded_part = loaded->load_part(path, threads);
      if (loaded_part.lost_bytes > 0) {
        notes.push_back(path + ": " +
                        data::lost_text(loaded_part.lost_bytes, loaded_part.source_bytes));
      }
      return loaded_part;
    };
    part = load(settings.data);
    if (!settings.by_frequency.empty()) {
      const data::DataPart counted = load(settings.by_frequency);
      counted_in = settings.by_frequency;
      if (counted.format != "text") counted_in += fmt::format(" ({})", counted.format);
      ThreadPool pool(threads);
      class_of = frequency_classes(
          corpus::count_tokens(counted.tokens, loaded->run.model.vocabulary, pool));
    }
    reading = reading_in(loaded->run.config);
    const std::size_t context = loaded->run.model.context;
    evaluator.emplace(
        loaded->model,
        std::vector<train::EvaluatedText>{
            {.name = settings.data,
             .rows = row_source(part, settings.data, reading),
             .documents = rows_of_part(part, settings.data, reading, context, {}, true)}},
        settings.sequences, threads, process_group);
  });
  train::read_parameters(loaded->path, loaded->model.layout(), loaded->parameters.span(),
                         process_group);
  const train::Evaluation result = evaluator->evaluate(loaded->parameters.data());
  std::vector<train::Evaluation> by_class;
  if (!class_of.empty()) {
    by_class =
        evaluator->evaluate_by_target(loaded->parameters.data(), class_of, kFrequencies.size());
  }
  if (process_group.rank() != 0) return;
  fmt::print("checkpoint     {}\n", loaded->path.string());
  fmt::print("tokens         {}\n", result.positions);
  fmt::print("loss           {:.6f} nats per token\n", result.loss);
  fmt::print("perplexity     {:.4f}\n", std::exp(result.loss));
  const auto bytes =
      reading.learns_prompts ? part.bytes_per_token() : part.bytes_per_counted_token();
  if (bytes) {
    fmt::print("bits per byte  {:.4f}\n", result.loss / *bytes / std::numbers::ln2);
  }
  fmt::print("data           {} ({})\n", settings.data, part.format);
  for (const std::string& note : notes) fmt::print("note           {}\n", note);
  if (!class_of.empty()) print_by_frequency(by_class, class_of, counted_in);
  std::fflush(stdout);
}

}  // namespace cllm::cli
