// Documents in a sequence that don't see each other, and targets that don't count.
#include <gtest/gtest.h>

#include <algorithm>
#include <span>
#include <string>
#include <vector>

#include "cllm/base/random.h"
#include "cllm/kernels/implementations.h"
#include "cllm/model/model.h"
#include "support/compare.h"
#include "support/flat_sink.h"
#include "support/partial_example.h"
#include "support/variants.h"

namespace cllm {
namespace {

using support::PartialExample;

/// Documents of every length from one on, some of which end where a block of queries or a vector
/// does not, and one that begins in another block than it ends.
std::vector<support::Variant> variants() {
  return support::all_variants(
      {.layers = 2, .heads = 4, .channels = 16, .context = 90, .vocabulary = 29, .kv_heads = 2});
}

PartialExample example_of(const model::ModelConfig& config, std::uint64_t seed = 5) {
  return support::make_partial_example(config, 2, 83, {0, 1, 7, 9, 60, 70}, seed);
}

class PartialTest : public testing::TestWithParam<support::Variant> {};

INSTANTIATE_TEST_SUITE_P(Variants, PartialTest, testing::ValuesIn(variants()),
                         support::NameOfParameter());

TEST_P(PartialTest, TheReferenceAgreesWithTheComplexStep) {
  const PartialExample e = support::make_partial_example(GetParam().config, 2, 9, {0, 1, 4, 7}, 3);
  const std::vector<double> gradients =
      support::partial_reference_gradients(e, e.whole.exact_parameters());
  const double tolerance = support::partial_tolerance(e, support::kDoubleRoundoff);
  const double floor = support::root_mean_square(gradients);
  RandomStream random(1, 2);
  for (const model::Tensor& tensor : e.whole.layout.tensors()) {
    for (int i = 0; i < 5; ++i) {
      const std::size_t index = tensor.offset + random.below(tensor.size());
      EXPECT_NEAR(gradients[index], support::partial_complex_step(e, index), 10 * tolerance * floor)
          << tensor.name;
    }
  }
}

TEST_P(PartialTest, LossAndGradientsAreThoseOfTheReference) {
  const PartialExample e = example_of(GetParam().config);
  const double tolerance = support::partial_tolerance(e, support::kFloatRoundoff);
  const std::vector<double> parameters = e.whole.exact_parameters();
  const std::vector<double> reference = support::partial_reference_gradients(e, parameters);
  const double loss = support::partial_reference_loss(e, std::span<const double>(parameters));
  for (const kernels::Kernels* kernels : kernels::runnable_kernels()) {
    SCOPED_TRACE(kernels->name);
    const model::Model model(GetParam().config, *kernels);
    support::TrainingRoom room(model, {2, 83, 50});
    const auto counted = static_cast<double>(e.counted);
    ASSERT_EQ(e.micro_batch().counted(), e.counted);
    const auto gradient_of = [&](const model::MicroBatch& batch, double& sum) {
      std::vector<float> gradient(e.whole.layout.flat_size());
      sum = room.loss_and_gradient(e.whole.parameters.data(), batch,
                                   static_cast<float>(1 / counted), gradient.data());
      return gradient;
    };
    const auto agrees = [&](const std::vector<float>& gradient) -> bool {
      return static_cast<bool>(
          support::gradients_agree<float>(e.whole.layout, gradient, reference, tolerance));
    };
    double fast = 0, other = 0;
    EXPECT_TRUE(agrees(gradient_of(e.micro_batch(), fast)));
    EXPECT_NEAR(fast / counted, loss, tolerance * std::max(1.0, loss));
    // The checker refuses a model that sees other documents, and one that counts all targets.
    model::MicroBatch wrong = e.micro_batch();
    wrong.begins = nullptr;
    EXPECT_FALSE(agrees(gradient_of(wrong, other)));
    wrong = e.micro_batch();
    wrong.targets = e.whole.targets.data();
    EXPECT_FALSE(agrees(gradient_of(wrong, other)));
  }
}

TEST_P(PartialTest, ATeamOfAnySizeGivesTheSameBits) {
  const PartialExample e = example_of(GetParam().config, 8);
  const model::Model model(GetParam().config, kernels::select_kernels());
  const auto trained = [&](int team) {
    support::TrainingRoom room(model, {2, 83, 30}, team);
    std::vector<float> result(e.whole.layout.flat_size());
    for (int i = 0; i < 2; ++i) {
      result.push_back(static_cast<float>(
          room.loss_and_gradient(e.whole.parameters.data(), e.micro_batch(), 1.0f, result.data())));
    }
    return result;
  };
  const std::vector<float> alone = trained(1);
  for (const int team : {2, 3, 5}) EXPECT_EQ(trained(team), alone) << team;
}

// One document from position 0 on, of which all counts, is what a sequence is anyway.
TEST_P(PartialTest, OneDocumentOfAllTargetsGivesTheBitsOfASequence) {
  PartialExample e = support::make_partial_example(GetParam().config, 2, 40, {0}, 2);
  e.targets = e.whole.targets;
  const model::Model model(GetParam().config, kernels::select_kernels());
  support::TrainingRoom room(model, {2, 40, 30});
  const auto gradient_of = [&](const model::MicroBatch& batch) {
    std::vector<float> gradient(e.whole.layout.flat_size());
    gradient.push_back(static_cast<float>(
        room.loss_and_gradient(e.whole.parameters.data(), batch, 1.0f, gradient.data())));
    return gradient;
  };
  model::MicroBatch plain = e.micro_batch();
  plain.begins = nullptr;
  EXPECT_EQ(gradient_of(e.micro_batch()), gradient_of(plain));
}

}  // namespace
}  // namespace cllm
