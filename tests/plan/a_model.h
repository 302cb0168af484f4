#pragma once

#include <string_view>

#include "cllm/model/families.h"
#include "cllm/model/layout.h"
#include "cllm/plan/figures.h"
#include "cllm/train/trainer.h"

namespace cllm::plan {

/// A preset of GPT-2's family with so many tokens.
inline model::Layout a_model(std::string_view preset = "gpt2-124m",
                             std::size_t vocabulary = 50257) {
  model::ModelConfig config = model::find_preset(preset).shape;
  config.vocabulary = vocabulary;
  return model::Layout(model::with_usual_sizes(config));
}

/// 2 x 32 cores and 25 Gbit/s.
inline Figures some_figures() {
  return {.cores = 64,
          .core_flops = 50e9,
          .update_bytes = 200e9,
          .disk_bytes = 1e9,
          .costs = {.network = {.latency = 2e-5, .per_byte = 3.2e-10},
                    .per_message = 2e-6,
                    .per_added_byte = 1e-10,
                    .per_copied_byte = 1e-10}};
}

inline train::TrainerOptions some_options(std::string_view optimizer = "adamw") {
  train::TrainerOptions options;
  options.optimizer.name = optimizer;
  options.schedule = {.learning_rate = 1e-3, .steps = 100};
  options.micro_batch = options.token_block = 0;
  return options;
}

}  // namespace cllm::plan
