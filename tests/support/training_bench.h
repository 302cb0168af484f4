#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "cllm/base/random.h"
#include "cllm/kernels/blas.h"
#include "cllm/model/initialize.h"
#include "cllm/train/trainer.h"
#include "support/thread_ranks.h"

namespace cllm::support {

/// A small model that has everything: several token blocks, heads, tiles and token ranges.
inline const model::ModelConfig kSmallModel{
    .layers = 2, .heads = 2, .channels = 32, .context = 16, .vocabulary = 50};

/// The same with a factorised token embedding.
inline const model::ModelConfig kFactorisedModel{
    .layers = 2, .heads = 2, .channels = 32, .context = 16, .vocabulary = 50, .embedding_rank = 12};

inline std::vector<std::uint32_t> random_tokens(std::size_t count, std::uint64_t seed,
                                                const model::ModelConfig& config = kSmallModel) {
  RandomStream random(seed, 0);
  std::vector<std::uint32_t> tokens(count);
  for (auto& token : tokens) token = static_cast<std::uint32_t>(random.below(config.vocabulary));
  return tokens;
}

inline train::TrainerOptions trainer_options(std::size_t batch, std::size_t micro_batch,
                                             int threads) {
  return {.optimizer = {},
          .schedule = {.decay = train::Decay::kConstant,
                       .learning_rate = 1e-3,
                       .min_learning_rate = 0,
                       .steps = 1000},
          .batch = batch,
          .micro_batch = micro_batch,
          .token_block = 16,
          .threads = threads};
}

/// A model with its tokens and everything that trains it, on one rank of `process_group`.
struct TrainingBench {
  TrainingBench(std::vector<std::uint32_t> text, const train::TrainerOptions& options,
                ranks::ProcessGroup& process_group, const model::ModelConfig& config = kSmallModel,
                const model::Freeze& freeze = {})
      : tokens(std::move(text)),
        view(std::span<const std::uint32_t>(tokens)),
        sequences(view, data::WindowSampler(1, tokens.size(), config.context)),
        model(config, kernels::select_kernels(), freeze),
        trainer(model, kernels::select_kernels(), options, sequences, process_group),
        state(model.layout(), train::find_optimizer(options.optimizer.name).buffers, 1,
              trainer.ownership()) {
    kernels::prepare_blas(options.threads);
    model::initialize(model.layout(), 1, state.parameters.span(), 2);
  }
  std::vector<std::uint32_t> tokens;
  data::TokenView view;
  data::Sequences sequences;
  model::Model model;
  train::Trainer trainer;
  train::State state;
};

/// Everything that some steps left behind: rank 0's parameters, what the optimizer keeps, of
/// whichever rank, and each step's loss and norm.
inline std::vector<double> trained(int ranks, const train::TrainerOptions& options, int steps,
                                   const model::ModelConfig& config = kSmallModel,
                                   const model::Freeze& freeze = {}) {
  std::vector<double> result;
  const model::Layout layout(config, freeze);
  // What the optimizer keeps, buffer by buffer, where the layout has its tensors.
  std::vector<std::vector<double>> kept(
      train::find_optimizer(options.optimizer.name).buffers.size(),
      std::vector<double>(layout.flat_size()));
  ThreadRanks(ranks).run([&](ranks::ProcessGroup& process_group) {
    TrainingBench bench(random_tokens(2000, 3, config), options, process_group, config, freeze);
    std::vector<double> reports;
    for (int step = 0; step < steps; ++step) {
      const train::StepReport report = bench.trainer.step(bench.state);
      reports.push_back(report.loss);
      reports.push_back(report.gradient_norm);
    }
    bench.trainer.complete();
    const bool is_first = process_group.rank() == 0;
    for (std::size_t b = 0; b < kept.size() && (is_first || options.shard); ++b) {
      for (std::size_t tensor = 0; tensor < layout.tensors().size(); ++tensor) {
        std::ranges::copy(bench.state.buffers[b].of(tensor),
                          kept[b].data() + bench.state.buffers[b].own(tensor).offset);
      }
    }
    if (!is_first) return;
    result = std::move(reports);
    const std::span<const float> parameters = bench.state.parameters.span();
    result.insert(result.end(), parameters.begin(), parameters.end());
  });
  for (const std::vector<double>& values : kept) {
    result.insert(result.end(), values.begin(), values.end());
  }
  return result;
}

}  // namespace cllm::support
