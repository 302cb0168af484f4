// Training with tensors that are frozen.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "cllm/io/checkpoint.h"
#include "cllm/train/adamw.h"
#include "cllm/train/checkpoint_writer.h"
#include "cllm/train/memory_budget.h"
#include "cllm/train/replicas.h"
#include "cllm/train/saved_state.h"
#include "support/scratch_directory.h"
#include "support/training_bench.h"
#include "support/variants.h"

namespace cllm::train {
namespace {

using model::Freeze;
using support::trained;
using support::trainer_options;
using support::TrainingBench;

ranks::SingleProcess alone;

struct Case {
  std::string name;
  model::ModelConfig config;
  const char* words;
};

std::vector<Case> cases() {
  std::vector<Case> cases;
  for (const support::Variant& family : support::all_families(support::kSmallModel)) {
    cases.push_back({family.name + "_layer", family.config, "layers:0"});
    cases.push_back({family.name + "_below", family.config, "embeddings,layers:0"});
    cases.push_back({family.name + "_matrices", family.config, "attention,mlp"});
  }
  cases.push_back({"codes", support::kFactorisedModel, "embeddings"});
  cases.push_back({"basis_trained", support::kFactorisedModel, "mlp,norms"});
  cases.push_back({"head_alone", support::of_family(support::kSmallModel, "nanochat"),
                   "embeddings,layers:0-1"});
  return cases;
}

class FrozenTraining : public testing::TestWithParam<Case> {};

INSTANTIATE_TEST_SUITE_P(Cases, FrozenTraining, testing::ValuesIn(cases()),
                         support::NameOfParameter());

TEST_P(FrozenTraining, GivesTheSameBitsForAnyRanksThreadsAndTeams) {
  const auto& [name, config, words] = GetParam();
  for (const char* optimizer : {"adamw", "muon"}) {
    TrainerOptions options = trainer_options(6, 3, 1);
    options.optimizer.name = optimizer;
    const std::vector<double> one = trained(1, options, 4, config, Freeze(words));
    EXPECT_NE(trained(1, options, 4, config), one);
    for (const auto& [ranks, threads, team] :
         {std::tuple{1, 2, 1}, {1, 3, 3}, {2, 2, 2}, {4, 1, 1}}) {
      options.threads = threads;
      options.team = team;
      EXPECT_EQ(trained(ranks, options, 4, config, Freeze(words)), one)
          << optimizer << ", " << ranks << " x " << threads << ", teams of " << team;
    }
  }
}

/// Each tensor's values after some steps, by its name.
std::map<std::string, std::vector<float>> tensors_after(int steps, const TrainerOptions& options,
                                                        const model::ModelConfig& config,
                                                        const Freeze& freeze) {
  TrainingBench bench(support::random_tokens(2000, 3, config), options, alone, config, freeze);
  for (int step = 0; step < steps; ++step) bench.trainer.step(bench.state);
  std::map<std::string, std::vector<float>> values;
  for (const model::Tensor& tensor : bench.model.layout().tensors()) {
    const float* const first = bench.state.parameters.data() + tensor.offset;
    values[tensor.name].assign(first, first + tensor.size());
  }
  return values;
}

// Without a limit on the norm, which is of all that is trained, a step moves each tensor by its own
// gradient alone: so one step must move those that are trained as it moves them in a run of all.
TEST_P(FrozenTraining, MovesTheOthersAsIfAllWereTrained) {
  const auto& [name, config, words] = GetParam();
  for (const Reduce reduce : {Reduce::kExact, Reduce::kFp32}) {
    for (const char* optimizer : {"adamw", "muon"}) {
      TrainerOptions options = trainer_options(6, 3, 2);
      options.optimizer.name = optimizer;
      options.optimizer.clip = 0;
      options.reduce = reduce;
      const Freeze freeze(words);
      const auto start = tensors_after(0, options, config, {});
      const auto all = tensors_after(1, options, config, {});
      const auto some = tensors_after(1, options, config, freeze);
      const auto later = tensors_after(3, options, config, freeze);
      const model::Layout layout(config, freeze);
      for (const model::Tensor& tensor : layout.tensors()) {
        const auto& expected = tensor.is_trained ? all : start;
        EXPECT_EQ(some.at(tensor.name), expected.at(tensor.name)) << tensor.name;
        if (tensor.is_trained) continue;
        EXPECT_EQ(later.at(tensor.name), start.at(tensor.name)) << tensor.name;
      }
      EXPECT_NE(later, some);
    }
  }
}

TEST(Frozen, TheNormIsOfWhatIsTrained) {
  const TrainerOptions options = trainer_options(6, 3, 1);
  const auto norm = [&](const Freeze& freeze) {
    TrainingBench bench(support::random_tokens(2000, 3), options, alone, support::kSmallModel,
                        freeze);
    return bench.trainer.step(bench.state).gradient_norm;
  };
  // Of parts that together are all, the squares add up.
  const double layers = norm(Freeze("embeddings,norms")), all = norm({});
  EXPECT_LT(layers, all);
  const double rest = norm(Freeze("attention,mlp"));
  EXPECT_NEAR(layers * layers + rest * rest, all * all, 1e-6 * all * all);
}

TEST(Frozen, TakeNoMemoryOfSumsAndOptimizer) {
  const TrainerOptions options = trainer_options(6, 3, 1);
  model::ModelConfig config = support::kSmallModel;
  config.layers = 4;
  const model::Layout whole(config), layout(config, Freeze("embeddings,layers:0-2"));
  const MemoryBudget all = memory_budget(whole, options, true, 0, alone);
  const MemoryBudget some = memory_budget(layout, options, true, 0, alone);
  const std::size_t frozen = (whole.trained_size() - layout.trained_size()) * sizeof(float);
  EXPECT_GT(frozen, whole.flat_size() * sizeof(float) * 7 / 10);
  EXPECT_EQ(some.parameters, all.parameters);
  EXPECT_EQ(some.optimizer, 2 * layout.trained_size() * sizeof(float));
  EXPECT_EQ(all.optimizer - some.optimizer, 2 * frozen);
  EXPECT_GE(all.sums - some.sums, frozen);
  EXPECT_LT(some.threads, all.threads);
}

/// A state with its layout, written to a checkpoint and read for what may train something else.
class FrozenCheckpoint : public testing::Test {
 protected:
  std::filesystem::path saved(const Freeze& freeze) {
    TrainingBench bench(support::random_tokens(2000, 3), options_, alone, support::kSmallModel,
                        freeze);
    for (int step = 0; step < 3; ++step) bench.trainer.step(bench.state);
    io::RunState run;
    run.model = support::kSmallModel;
    run.state = "{}";
    run.freeze = freeze.text();
    CheckpointWriter writer({.directory = scratch_.path(), .background = false},
                            bench.model.layout(), AdamW::kBuffers, bench.trainer.pool(), run,
                            [] {});
    writer.save(bench.state);
    const SavedCheckpoint report = writer.take_reports().front();
    EXPECT_EQ(report.problem, "");
    return report.path;
  }

  static float first_m(State& state, const model::Layout& layout, std::size_t tensor) {
    EXPECT_TRUE(layout[tensor].is_trained);
    return state.buffers[0].of(tensor)[0];
  }

  TrainerOptions options_ = trainer_options(6, 3, 1);
  support::ScratchDirectory scratch_;
};

TEST_F(FrozenCheckpoint, IsWholeAndGoesOn) {
  const Freeze freeze("embeddings,layers:0");
  const std::filesystem::path path = saved(freeze);
  EXPECT_EQ(io::describe_checkpoint(path).problems(), std::vector<std::string>{});
  EXPECT_EQ(io::read_run_state(path).freeze, "embeddings,layers:0");
  TrainingBench straight(support::random_tokens(2000, 3), options_, alone, support::kSmallModel,
                         freeze);
  for (int step = 0; step < 5; ++step) straight.trainer.step(straight.state);
  TrainingBench resumed(support::random_tokens(2000, 3), options_, alone, support::kSmallModel,
                        freeze);
  restore(path, resumed.model.layout(), resumed.state, alone);
  for (int step = 0; step < 2; ++step) resumed.trainer.step(resumed.state);
  EXPECT_EQ(digest_of(resumed.state, resumed.trainer.pool()),
            digest_of(straight.state, straight.trainer.pool()));
}

TEST_F(FrozenCheckpoint, GoesOnWithOthersFrozen) {
  const std::filesystem::path path = saved(Freeze("layers:0"));
  TrainingBench other(support::random_tokens(2000, 3), options_, alone, support::kSmallModel,
                      Freeze("layers:1"));
  const model::Layout& layout = other.model.layout();
  restore(path, layout, other.state, alone);
  // What was trained before and is now goes on; what was frozen starts at zero.
  EXPECT_NE(first_m(other.state, layout, layout.embedding().front().tensor), 0.0f);
  EXPECT_EQ(first_m(other.state, layout, layout.layer(0).c_attn_weight), 0.0f);
  EXPECT_TRUE(other.state.scale_exponents.empty());
  EXPECT_TRUE(other.state.gradient_norms.empty());
  EXPECT_EQ(other.state.step, 3u);
  EXPECT_EQ(other.trainer.step(other.state).outcome, Outcome::kUpdated);
  EXPECT_NE(first_m(other.state, layout, layout.layer(0).c_attn_weight), 0.0f);
}

TEST_F(FrozenCheckpoint, OfAllTensorsIsReadForSome) {
  const std::filesystem::path path = saved({});
  TrainingBench other(support::random_tokens(2000, 3), options_, alone, support::kSmallModel,
                      Freeze("mlp"));
  restore(path, other.model.layout(), other.state, alone);
  EXPECT_EQ(other.trainer.step(other.state).outcome, Outcome::kUpdated);
}

}  // namespace
}  // namespace cllm::train
