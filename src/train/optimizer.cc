#include "cllm/train/optimizer.h"

#include <algorithm>
#include <cmath>

#include "cllm/base/error.h"
#include "cllm/train/adamw.h"
#include "cllm/train/muon.h"

namespace cllm::train {
namespace {

/// All that there are.
constexpr OptimizerKind kOptimizers[] = {AdamW::kKind, Muon::kKind};

void check_share(const char* option, double share) {
  if (!(share >= 0 && share < 1)) fail("{} {}: give a number from 0 to below 1", option, share);
}

}  // namespace

void validate(const OptimizerOptions& options) {
  find_optimizer(options.name);
  check_share("--beta1", options.beta1);
  check_share("--beta2", options.beta2);
  check_share("--muon-momentum", options.muon_momentum);
  if (!(options.embedding_learning_rate > 0) || !std::isfinite(options.embedding_learning_rate)) {
    fail("--embedding-rate {}: give a number above 0", options.embedding_learning_rate);
  }
  if (!(options.weight_decay >= 0) || !std::isfinite(options.weight_decay)) {
    fail("--weight-decay {}: give a number from 0 upward", options.weight_decay);
  }
  if (!(options.clip >= 0) || !std::isfinite(options.clip)) {
    fail("--clip {}: give the largest gradient norm, or 0 for no limit", options.clip);
  }
}

const OptimizerKind& find_optimizer(std::string_view name) {
  const auto found = std::ranges::find(kOptimizers, name, &OptimizerKind::name);
  if (found == std::end(kOptimizers)) {
    std::string names;
    for (const OptimizerKind& kind : kOptimizers) {
      names += fmt::format("{}{}", names.empty() ? "" : " or ", kind.name);
    }
    fail("--optimizer {}: choose {}", name, names);
  }
  return *found;
}

}  // namespace cllm::train
