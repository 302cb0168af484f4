// Training of adapters.
#include <gtest/gtest.h>

#include <algorithm>
#include <tuple>
#include <vector>

#include "cllm/model/merge.h"
#include "support/training_bench.h"
#include "support/variants.h"

namespace cllm::train {
namespace {

using support::trained;
using support::trainer_options;

const model::Freeze kBase("base");

std::vector<support::Variant> adapted() {
  std::vector<support::Variant> variants;
  model::ModelConfig grouped = support::kSmallModel;
  grouped.kv_heads = 1;
  for (const support::Variant& family : support::all_families(grouped)) {
    if (family.name != "gpt2") {
      variants.push_back({family.name, support::with_lora(family.config, 8, 16)});
    }
  }
  variants.push_back({"gpt2", support::with_lora(support::kSmallModel, 3, 5, "q_proj,v_proj,mlp")});
  variants.push_back({"codes", support::with_lora(support::kFactorisedModel, 2, 8, "k_proj,mlp")});
  return variants;
}

class AdapterTraining : public testing::TestWithParam<support::Variant> {
 protected:
  const model::ModelConfig& config() const { return GetParam().config; }
};

INSTANTIATE_TEST_SUITE_P(Variants, AdapterTraining, testing::ValuesIn(adapted()),
                         support::NameOfParameter());

TEST_P(AdapterTraining, GivesTheSameBitsForAnyRanksThreadsAndTeams) {
  for (const char* optimizer : {"adamw", "muon"}) {
    TrainerOptions options = trainer_options(6, 3, 1);
    options.optimizer.name = optimizer;
    const std::vector<double> one = trained(1, options, 4, config(), kBase);
    for (const auto& [ranks, threads, team] :
         {std::tuple{1, 2, 1}, {1, 3, 3}, {2, 2, 2}, {4, 1, 1}}) {
      options.threads = threads;
      options.team = team;
      EXPECT_EQ(trained(ranks, options, 4, config(), kBase), one)
          << optimizer << ", " << ranks << " x " << threads << ", teams of " << team;
    }
  }
}

TEST_P(AdapterTraining, LearnsOneBatchAndLeavesTheBase) {
  TrainerOptions options = trainer_options(4, 2, 1);
  options.schedule.learning_rate = 1e-2;
  options.optimizer.weight_decay = 0;
  ranks::SingleProcess alone;
  support::TrainingBench bench(support::random_tokens(config().context + 1, 3), options, alone,
                               config(), kBase);
  const model::Layout& layout = bench.model.layout();
  // A head that is zero would give no gradient to anything below it.
  std::span<float> parameters = bench.state.parameters.span();
  const model::Tensor& head = layout[layout.lm_head().front().tensor];
  for (std::size_t i = 0; i < head.size(); ++i) {
    parameters[head.offset + i] = 0.2f * static_cast<float>(static_cast<int>(i * 7 % 11) - 5);
  }
  const std::span<const float> base = model::base_of(layout, parameters);
  const std::vector<float> before(base.begin(), base.end());
  StepReport report = bench.trainer.step(bench.state);
  const double first = report.loss;
  for (int step = 1; step < 100; ++step) report = bench.trainer.step(bench.state);
  EXPECT_LT(report.loss, 0.9 * first);
  EXPECT_TRUE(std::ranges::equal(before, base));
  EXPECT_EQ(bench.state.buffers[0].values().size(), layout.trained_size());
}

}  // namespace
}  // namespace cllm::train
