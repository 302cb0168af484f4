#include <gtest/gtest.h>

#include <cstddef>
#include <string>
#include <vector>

#include "cllm/model/model.h"
#include "support/example.h"
#include "support/flat_sink.h"
#include "support/variants.h"

/// Activations that backward computes again: Note [Computing again] in cllm/model/workspace.h.
namespace cllm::model {
namespace {

constexpr std::size_t kLayers = 6, kSequences = 2, kPositions = 17;

struct Case {
  std::string name;
  ModelConfig config;
  std::string freeze;
};

std::vector<Case> cases() {
  const ModelConfig shape{.layers = kLayers,
                          .heads = 4,
                          .channels = 32,
                          .context = 20,
                          .vocabulary = 61,
                          .kv_heads = 2};
  std::vector<Case> result;
  for (const support::Variant& variant : support::all_variants(shape)) {
    result.push_back({variant.name, variant.config, ""});
  }
  for (const support::Variant& family : support::all_families(shape)) {
    result.push_back({family.name + "_lora", support::with_lora(family.config, 3, 7, "all"), ""});
    result.push_back({family.name + "_upper_layers", family.config, "embeddings,layers:0-1"});
  }
  return result;
}

class RecomputeTest : public testing::TestWithParam<Case> {
 protected:
  /// Loss and gradient, twice, so that what a micro-batch leaves behind would be seen.
  std::vector<float> trained(std::size_t recomputed, int team) const {
    const support::Example e = support::make_example(GetParam().config, kSequences, kPositions, 3);
    const Model model(GetParam().config, kernels::select_kernels(), freeze());
    support::TrainingRoom room(model, {kSequences, kPositions, 9}, team, recomputed);
    const MicroBatch batch{e.inputs.data(), e.targets.data(), kSequences, kPositions};
    std::vector<float> result(model.layout().flat_size());
    for (int i = 0; i < 2; ++i) {
      result.push_back(static_cast<float>(
          room.loss_and_gradient(e.parameters.data(), batch, 1.0f, result.data())));
    }
    return result;
  }
  Freeze freeze() const { return GetParam().freeze.empty() ? Freeze() : Freeze(GetParam().freeze); }
};

INSTANTIATE_TEST_SUITE_P(Cases, RecomputeTest, testing::ValuesIn(cases()),
                         support::NameOfParameter());

TEST_P(RecomputeTest, GivesTheSameBits) {
  const Model model(GetParam().config, kernels::select_kernels(), freeze());
  const std::size_t most = Workspace::most_recomputed(model.network());
  ASSERT_EQ(most, GetParam().freeze.empty() ? kLayers - 2 : kLayers - 4);
  const std::vector<float> kept = trained(0, 1);
  for (std::size_t recomputed = 1; recomputed <= most; ++recomputed) {
    for (const int team : {1, 3}) {
      EXPECT_EQ(trained(recomputed, team), kept) << recomputed << " layers, a team of " << team;
    }
  }
}

TEST_P(RecomputeTest, SavesAsMuchForEachLayer) {
  const Model model(GetParam().config, kernels::select_kernels(), freeze());
  const auto bytes = [&](std::size_t recomputed) {
    return Workspace::bytes_for(model.network(), {kSequences, kPositions, 9}, Purpose::kTraining,
                                recomputed);
  };
  const std::size_t saved = bytes(0) - bytes(1);
  // At least what goes in and out of its MLP, and queries, keys and values.
  const ModelConfig& config = model.layout().config();
  EXPECT_GE(saved, kSequences * kPositions * sizeof(float) *
                       (config.mlp_inputs() + config.mlp_width + config.qkv_width()));
  for (std::size_t n = 1; n <= Workspace::most_recomputed(model.network()); ++n) {
    EXPECT_EQ(bytes(n - 1) - bytes(n), saved) << n;
  }
}

}  // namespace
}  // namespace cllm::model
