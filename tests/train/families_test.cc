// What holds of training, of every family and of parts mixed.
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <tuple>
#include <vector>

#include "support/training_bench.h"
#include "support/variants.h"

namespace cllm::train {
namespace {

using support::trained;
using support::trainer_options;

constexpr int kSteps = 4;

std::vector<support::Variant> variants() {
  std::vector<support::Variant> variants = support::all_variants(support::kSmallModel);
  model::ModelConfig grouped = support::kSmallModel;
  grouped.heads = 4;
  grouped.kv_heads = 2;
  for (const support::Variant& family : support::all_families(grouped)) {
    variants.push_back({family.name + "_grouped", family.config});
  }
  return variants;
}

class Families : public testing::TestWithParam<support::Variant> {
 protected:
  const model::ModelConfig& config() const { return GetParam().config; }
};

INSTANTIATE_TEST_SUITE_P(Variants, Families, testing::ValuesIn(variants()),
                         support::NameOfParameter());

TEST_P(Families, GiveTheSameBitsForAnyRanksThreadsAndTeams) {
  TrainerOptions options = trainer_options(6, 3, 1);
  const std::vector<double> alone = trained(1, options, kSteps, config());
  for (const double value : alone) ASSERT_TRUE(std::isfinite(value));
  for (const auto& [ranks, threads, team] :
       {std::tuple{1, 2, 1}, {1, 2, 2}, {1, 3, 3}, {2, 1, 1}, {2, 2, 2}, {4, 1, 1}}) {
    options.threads = threads;
    options.team = team;
    EXPECT_EQ(trained(ranks, options, kSteps, config()), alone)
        << ranks << " x " << threads << ", teams of " << team;
  }
}

// If float sums gave the same bits too, the test above would test nothing.
TEST_P(Families, FloatSumsDoDependOnTheSplit) {
  TrainerOptions options = trainer_options(6, 1, 1);
  options.reduce = Reduce::kFp32;
  EXPECT_NE(trained(2, options, kSteps, config()), trained(1, options, kSteps, config()));
}

// What an untrained model knows is nothing; and one batch can be learned by heart.
TEST_P(Families, StartAtAUniformGuessAndLearnOneBatch) {
  TrainerOptions options = trainer_options(4, 2, 1);
  options.schedule.learning_rate = 3e-3;
  options.optimizer.weight_decay = 0;
  ranks::SingleProcess alone;
  support::TrainingBench bench(support::random_tokens(config().context + 1, 3), options, alone,
                               config());
  const double guess = std::log(static_cast<double>(config().vocabulary));
  StepReport report = bench.trainer.step(bench.state);
  EXPECT_NEAR(report.loss, guess, 0.05 * guess);
  for (int step = 1; step < 200; ++step) report = bench.trainer.step(bench.state);
  EXPECT_LT(report.loss, 0.1);
}

}  // namespace
}  // namespace cllm::train
