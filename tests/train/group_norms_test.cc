#include "cllm/train/group_norms.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "support/training_bench.h"
#include "support/variants.h"

namespace cllm::train {
namespace {

using testing::ElementsAre;

/// The norms of some steps, in the order of groups, the gradient's before the update's.
std::vector<double> norms_of(int ranks, TrainerOptions options, const model::ModelConfig& config) {
  options.norms_every = 2;
  std::vector<double> norms;
  support::ThreadRanks(ranks).run([&](ranks::ProcessGroup& process_group) {
    support::TrainingBench bench(support::random_tokens(2000, 3), options, process_group, config);
    for (int step = 1; step <= 4; ++step) {
      const StepReport report = bench.trainer.step(bench.state);
      EXPECT_EQ(report.norms != nullptr, step % 2 == 0);
      if (report.norms == nullptr || process_group.rank() != 0) continue;
      norms.insert(norms.end(), report.norms->gradient().begin(), report.norms->gradient().end());
      norms.insert(norms.end(), report.norms->update().begin(), report.norms->update().end());
    }
  });
  return norms;
}

/// Of each group, the norm of what is different.
std::map<std::string, double> changes(const model::Layout& layout, std::span<const float> before,
                                      std::span<const float> after) {
  std::map<std::string, double> squares;
  for (const model::Tensor& tensor : layout.tensors()) {
    std::string group = "embeddings";
    for (const model::Group& each : layout.groups()) {
      if (tensor.offset >= each.offset && tensor.offset < each.offset + each.size) {
        group = each.name;
      }
    }
    for (std::size_t i = tensor.offset; i < tensor.offset + tensor.size(); ++i) {
      const auto change = static_cast<double>(after[i]) - static_cast<double>(before[i]);
      squares[group] += change * change;
    }
  }
  for (auto& [name, value] : squares) value = std::sqrt(value);
  return squares;
}

class GroupNormsTest : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Optimizers, GroupNormsTest, testing::Values("adamw", "muon"));

TEST_P(GroupNormsTest, AreThoseOfTheWholeGradientAndOfWhatChanged) {
  TrainerOptions options = support::trainer_options(12, 3, 3);
  options.optimizer.name = GetParam();
  options.norms_every = 1;
  ranks::SingleProcess alone;
  model::ModelConfig untied = support::of_family(support::kSmallModel, "qwen3");
  untied.parts.tied = false;
  // The token embedding is a part of the head in the first and the second, and in the third not.
  for (const auto& [config, groups] :
       {std::pair<model::ModelConfig, std::size_t>{support::kSmallModel, 4},
        {support::of_family(support::kSmallModel, "qwen3"), 3},
        {untied, 4}}) {
    support::TrainingBench bench(support::random_tokens(2000, 3), options, alone, config);
    for (int step = 0; step < 3; ++step) {
      const std::span<const float> parameters = bench.state.parameters.span();
      const std::vector<float> before(parameters.begin(), parameters.end());
      const StepReport report = bench.trainer.step(bench.state);
      ASSERT_NE(report.norms, nullptr);
      const GroupNorms& norms = *report.norms;
      EXPECT_EQ(norms.names().size(), groups);
      double squares = 0;
      for (const double norm : norms.gradient()) squares += norm * norm;
      // Sums of the same numbers in double, in another order.
      EXPECT_NEAR(std::sqrt(squares) / report.gradient_norm, 1, 1e-12);
      const auto expected = changes(bench.model.layout(), before, parameters);
      EXPECT_EQ(expected.size(), groups);
      for (std::size_t i = 0; i < norms.names().size(); ++i) {
        // A difference of floats is rounded once, to a part in 2^24.
        EXPECT_NEAR(norms.update()[i] / expected.at(norms.names()[i]), 1, 1e-7);
        EXPECT_GT(norms.update()[i], 0);
      }
    }
  }
}

TEST_P(GroupNormsTest, AreTheSameBitsOnAnyRanksAndThreads) {
  TrainerOptions options = support::trainer_options(12, 3, 1);
  options.optimizer.name = GetParam();
  const std::vector<double> alone = norms_of(1, options, support::kSmallModel);
  EXPECT_EQ(alone.size(), 2u * 2 * 4);
  options.threads = 3;
  EXPECT_EQ(norms_of(1, options, support::kSmallModel), alone);
  options.threads = 2;
  EXPECT_EQ(norms_of(2, options, support::kSmallModel), alone);
  options.shard = true;
  EXPECT_EQ(norms_of(3, options, support::kSmallModel), alone);
}

TEST_P(GroupNormsTest, ChangeNoBitOfTheTraining) {
  TrainerOptions options = support::trainer_options(12, 3, 2);
  options.optimizer.name = GetParam();
  const std::vector<double> without = support::trained(1, options, 4);
  options.norms_every = 1;
  EXPECT_EQ(support::trained(1, options, 4), without);
}

TEST(GroupNorms, OfFrozenTensorsThereAreNone) {
  TrainerOptions options = support::trainer_options(12, 3, 2);
  options.norms_every = 1;
  ranks::SingleProcess alone;
  support::TrainingBench bench(support::random_tokens(2000, 3), options, alone,
                               support::of_family(support::kSmallModel, "llama"),
                               model::Freeze("embeddings,layers:0"));
  EXPECT_THAT(bench.trainer.step(bench.state).norms->names(), ElementsAre("h.1", "head"));
}

}  // namespace
}  // namespace cllm::train
