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
        state(model.layout(), train::find_optimizer(options.optimizer.name).buffers),
        trainer(model, kernels::select_kernels(), options, sequences, process_group) {
    kernels::prepare_blas(options.threads);
    model::initialize(model.layout(), 1, state.parameters.span(), 2);
  }
  std::vector<std::uint32_t> tokens;
  data::TokenView view;
  data::Sequences sequences;
  model::Model model;
  train::State state;
  train::Trainer trainer;
};

/// Everything that some steps left behind on rank 0: parameters, what the optimizer keeps, and each
/// step's loss and norm.
inline std::vector<double> trained(int ranks, const train::TrainerOptions& options, int steps,
                                   const model::ModelConfig& config = kSmallModel,
                                   const model::Freeze& freeze = {}) {
  std::vector<double> result;
  ThreadRanks(ranks).run([&](ranks::ProcessGroup& process_group) {
    TrainingBench bench(random_tokens(2000, 3, config), options, process_group, config, freeze);
    std::vector<double> reports;
    for (int step = 0; step < steps; ++step) {
      const train::StepReport report = bench.trainer.step(bench.state);
      reports.push_back(report.loss);
      reports.push_back(report.gradient_norm);
    }
    if (process_group.rank() != 0) return;
    result = std::move(reports);
    for (const std::span<float> floats : bench.state.floats()) {
      result.insert(result.end(), floats.begin(), floats.end());
    }
  });
  return result;
}

}  // namespace cllm::support
