#include <algorithm>
#include <iterator>

#include "cllm/cli/run/settings.h"

namespace cllm::cli {
namespace {

constexpr const char* kGroup = "Training";

/// What is usual with an optimizer: what reached a loss first where it was measured
/// (docs/recipes.md). Where a trained model goes on, what the field takes: 1e-5 to 5e-5 for AdamW
/// of all weights, as Alpaca and Vicuna had 2e-5, and for adapters ten times as much, as QLoRA had
/// 2e-4 (arXiv 2305.14314); for Muon as much less than usual as for AdamW.
struct Usual {
  std::string_view optimizer;
  double learning_rate;
  double fine_tuning;  ///< the same of a run that begins with a trained model's weights
  double adapters;     ///< and of one that trains adapters
  double end;          ///< learning rate at the end, times the highest
  train::Decay decay;
  bool scales_with_width;
};

constexpr Usual kUsual[] = {
    {"muon", 0.014, 0.0003, 0.003, 0.01, train::Decay::kLinear, true},
    {"adamw", 0.001, 2e-5, 2e-4, 0.1, train::Decay::kCosine, false},
};

}  // namespace

void declare_schedule_options(CLI::App& app, TrainSettings& s) {
  const auto training = [&](const char* option, auto& variable, const auto&... format_and_help) {
    return add_option(app, option, variable, format_and_help...)->group(kGroup);
  };
  training(
      "--lr", s.learning_rate,
      "highest learning rate [0.014, with adamw 0.001; with --init-from 0.0003, with adamw 2e-05; "
      "of adapters ten times that]");
  training("--min-lr", s.min_learning_rate,
           "learning rate at the end [a hundredth of --lr; with adamw a tenth]");
  training(
      "--warmup", s.warmup,
      "steps of growing learning rate [a tenth of --steps, with --init-from 3 %, at most 100]");
  training("--schedule", s.decay,
           one_of<std::optional<train::Decay>>({{"cosine", train::Decay::kCosine},
                                                {"linear", train::Decay::kLinear},
                                                {"wsd", train::Decay::kWsd},
                                                {"constant", train::Decay::kConstant}}),
           "how the learning rate falls after warm-up; wsd: in the last part of the steps [linear; "
           "with adamw cosine]");
  training("--decay-part", s.decay_part, "share of the steps in which --schedule wsd falls")
      ->capture_default_str();
}

void declare_optimizer_options(CLI::App& app, TrainSettings& s) {
  train::OptimizerOptions& optimizer = s.optimizer;
  add_option(app, "--optimizer", optimizer.name,
             one_of<std::string>({{"adamw", "adamw"}, {"muon", "muon"}}),
             "muon for the layers' matrices, which needs fewer steps, and adamw for the rest; or "
             "adamw for all [muon; with --init-from what the checkpoint was trained with]")
      ->group(kGroup);
  add_option(
      app, "--width-scaling", optimizer.scales_with_width, switch_format(),
      "rates of matrices fall with the channels, so that one --lr serves models of all sizes "
      "[on with muon]")
      ->group(kGroup);
  add_option(
      app, "--muon-momentum", optimizer.muon_momentum,
      "how slowly Muon's sum of gradients changes; the first 300 steps go up to it from 0.85")
      ->capture_default_str()
      ->group(kGroup);
  add_option(app, "--muon-iteration", optimizer.muon_iteration,
             one_of<train::Iteration>({{"newton-schulz", train::Iteration::kNewtonSchulz},
                                       {"polar-express", train::Iteration::kPolarExpress}}),
             "coefficients that Muon makes updates orthogonal with")
      ->group(kGroup);
}

void resolve_optimizer(const CLI::App& app, TrainSettings& s) {
  const auto given = [&](const char* option) { return is_given(app, option); };
  if (!given("--optimizer")) s.optimizer.name = kUsual[0].optimizer;
  const Usual& usual = *std::ranges::find(kUsual, s.optimizer.name, &Usual::optimizer);
  if (!given("--width-scaling")) s.optimizer.scales_with_width = usual.scales_with_width;
  if (!given("--lr")) {
    s.learning_rate = s.lora_rank > 0 ? usual.adapters
                      : s.fine_tunes  ? usual.fine_tuning
                                      : usual.learning_rate;
  }
  if (!given("--min-lr")) s.min_learning_rate = usual.end * s.learning_rate;
  if (!given("--schedule")) s.decay = usual.decay;
}

}  // namespace cllm::cli
