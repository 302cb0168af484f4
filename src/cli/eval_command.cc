#include <fmt/format.h>

#include <cmath>
#include <numbers>
#include <optional>

#include "cllm/base/error.h"
#include "cllm/base/processors.h"
#include "cllm/cli/checkpoints.h"
#include "cllm/cli/commands.h"
#include "cllm/data/dataset.h"
#include "cllm/kernels/blas.h"
#include "cllm/train/evaluator.h"
#include "cllm/train/placement.h"

namespace cllm::cli {

void declare_eval_options(CLI::App& app, EvalSettings& s) {
  add_option(app, "--checkpoint", s.checkpoint, "checkpoint FILE, or DIR of a run")
      ->type_name("PATH")
      ->required();
  add_option(app, "--data", s.data, "text FILE, DIR of text files, or token FILE")
      ->type_name("PATH")
      ->required();
  add_option(app, "--eval-sequences", s.sequences, "evenly spaced sequences to read: N or all")
      ->type_name("N")
      ->capture_default_str();
  add_option(app, "--threads", s.threads,
             "threads of each rank [its share of the host's processors]")
      ->type_name("N");
}

void eval_command(const EvalSettings& settings, train::Collective& collective) {
  std::uint64_t sequences = 0;
  train::in_agreement(collective, [&] {
    sequences = parse_evaluation_sequences(settings.sequences);
    if (settings.threads < 0) fail("--threads {}: give at least 1", settings.threads);
  });
  const auto sites = train::gather_sites(
      {.host = host_name(), .processors = available_processors(), .threads = settings.threads},
      collective);
  const int threads = sites[static_cast<std::size_t>(collective.rank())].threads;

  std::optional<LoadedModel> loaded;
  data::DataPart part;
  std::optional<train::Evaluator> evaluator;
  train::in_agreement(collective, [&] {
    kernels::prepare_blas(threads);
    loaded.emplace(settings.checkpoint);
    part = data::load_part(settings.data, loaded->tokenizer.get(), loaded->run.model.vocabulary,
                           threads);
    evaluator.emplace(loaded->gpt, part.tokens, sequences, threads, collective);
  });
  const train::Evaluation result = evaluator->evaluate(loaded->parameters.data());
  if (collective.rank() != 0) return;
  fmt::print("checkpoint     {}\n", loaded->path.string());
  fmt::print("tokens         {}\n", result.positions);
  fmt::print("loss           {:.6f} nats per token\n", result.loss);
  fmt::print("perplexity     {:.4f}\n", std::exp(result.loss));
  if (const auto bytes = part.bytes_per_token()) {
    fmt::print("bits per byte  {:.4f}\n", result.loss / *bytes / std::numbers::ln2);
  }
  std::fflush(stdout);
}

}  // namespace cllm::cli
