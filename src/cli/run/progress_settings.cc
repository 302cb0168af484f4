#include <cmath>

#include "cllm/base/error.h"
#include "cllm/cli/run/settings.h"

namespace cllm::cli {

void declare_progress_options(CLI::App& app, TrainSettings& s) {
  const auto run = [&](const char* option, auto& variable, const auto&... format_and_help) {
    return add_option(app, option, variable, format_and_help...)->group("Run");
  };
  run("--target-loss", s.target_loss,
      "the run is complete when the validation loss is at most X; 0 for no such end")
      ->capture_default_str();
  run("--patience", s.patience,
      "the run is complete when N evaluations in a row were no better than the best; 0 for no such "
      "end")
      ->capture_default_str();
  run("--sample-every", s.sample_every,
      "steps between texts that the model writes while it trains; 0 for none [0; with "
      "--sample-prompt as --eval-every]");
  run("--sample-prompt", s.sample_prompt, "what these texts go on from [a document's beginning]",
      Blank::kText)
      ->type_name("TEXT");
  run("--sample-tokens", s.sample_tokens, "most tokens of such a text")->capture_default_str();
  run("--norms-every", s.norms_every,
      "steps between norms of each layer's gradient and update in the metrics; 0 for none")
      ->capture_default_str();
}

void check_progress_options(const TrainSettings& s) {
  if (!(s.target_loss >= 0) || std::isinf(s.target_loss)) {
    fail("--target-loss {}: give a loss above 0 in nats per token, or 0 for none", s.target_loss);
  }
  if (s.sample_tokens == 0) {
    fail("--sample-tokens 0: give at least 1; --sample-every 0 writes no texts");
  }
}

train::Goal goal_of(const TrainSettings& s) {
  return {.steps = s.steps, .target_loss = s.target_loss, .patience = s.patience};
}

}  // namespace cllm::cli
