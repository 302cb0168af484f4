#include "cllm/cli/run/settings.h"

namespace cllm::cli {

void declare_optimizer_options(CLI::App& app, TrainSettings& s) {
  constexpr const char* kGroup = "Training";
  train::OptimizerOptions& optimizer = s.optimizer;
  add_option(app, "--optimizer", optimizer.name,
             one_of<std::string>({{"adamw", "adamw"}, {"muon", "muon"}}),
             "adamw for all; or muon for the layers' matrices, which needs fewer steps, and adamw "
             "for the rest")
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

}  // namespace cllm::cli
