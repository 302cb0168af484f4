#include "support/golden.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "cllm/model/generator.h"
#include "support/compare.h"
#include "support/reference_adamw.h"
#include "support/reference_gradients.h"
#include "support/reference_model.h"
#include "support/tolerance.h"

namespace cllm {
namespace {

using support::Golden;
using support::Matrix;

double reference_loss(const Golden& golden, std::size_t step, std::span<const double> parameters) {
  return support::reference_loss<double>(golden.start.layout, parameters, golden.steps[step].inputs,
                                         golden.steps[step].targets, golden.start.sequences,
                                         golden.start.positions);
}

std::vector<double> reference_gradients(const Golden& golden, std::size_t step,
                                        std::span<const double> parameters) {
  return support::reference_gradients<double>(golden.start.layout, parameters,
                                              golden.steps[step].inputs, golden.steps[step].targets,
                                              golden.start.sequences, golden.start.positions);
}

class GoldenOfFamily : public ::testing::TestWithParam<std::string> {
 protected:
  const Golden golden = support::load_golden(GetParam());
};

INSTANTIATE_TEST_SUITE_P(Families, GoldenOfFamily, ::testing::ValuesIn(support::golden_families()),
                         [](const auto& test) { return test.param; });

TEST_P(GoldenOfFamily, LossAndGradientsOfTheReferenceModelAreThoseOfPyTorch) {
  const double tolerance = support::gradient_tolerance(golden.start, support::kDoubleRoundoff);
  EXPECT_LT(tolerance, 1e-12);
  const std::vector<double> parameters = golden.start.exact_parameters();
  EXPECT_NEAR(reference_loss(golden, 0, parameters), golden.steps[0].loss,
              tolerance * golden.steps[0].loss);
  const auto agree = support::gradients_agree<double>(golden.start.layout,
                                                      reference_gradients(golden, 0, parameters),
                                                      golden.first_gradients, tolerance);
  EXPECT_TRUE(agree);
  RecordProperty("worst", agree.message());
}

/// transformers computes in float, also the angles of rotary positions: a position p's is off by up
/// to p roundings of itself, and with it queries and keys, so by as much as a sum of p² terms.
std::size_t terms_of_angles(const Golden& golden) {
  return golden.start.positions * golden.start.positions;
}

class LogitsOfTransformers : public GoldenOfFamily {};

INSTANTIATE_TEST_SUITE_P(Families, LogitsOfTransformers,
                         ::testing::Values("llama", "qwen3", "nanochat"),
                         [](const auto& test) { return test.param; });

TEST_P(LogitsOfTransformers, AreThoseOfTheReferenceModel) {
  Matrix<double> logits = support::reference_logits<double>(
      golden.start.layout, golden.start.exact_parameters(), golden.start.inputs,
      {golden.start.sequences, golden.start.positions});
  const double tolerance =
      support::logits_tolerance(golden.start, support::kFloatRoundoff, terms_of_angles(golden));
  const auto agree =
      support::logits_agree<double>(logits.values, golden.transformers_logits, tolerance);
  EXPECT_TRUE(agree);
  RecordProperty("worst", agree.message());
  logits.values[7] += 0.01;
  EXPECT_FALSE(support::logits_agree<double>(logits.values, golden.transformers_logits, tolerance));
}

/// The generator computes row after row, from keys and values that it has kept.
TEST_P(LogitsOfTransformers, AreThoseOfTheGenerator) {
  const support::Example& e = golden.start;
  // Both sides round.
  const double tolerance = support::logits_tolerance(
      e, support::kFloatRoundoff,
      support::forward_terms(e.layout.config(), e.positions) + terms_of_angles(golden));
  const model::Model model(e.layout.config(), kernels::select_kernels());
  std::vector<float> logits;
  for (std::size_t b = 0; b < e.sequences; ++b) {
    model::Generator generator(model, e.parameters);
    for (std::size_t t = 0; t < e.positions; ++t) {
      const std::span token(&e.inputs[b * e.positions + t], 1);
      const std::span<const float> row = generator.advance(token);
      logits.insert(logits.end(), row.begin(), row.end());
    }
  }
  const auto agree = support::logits_agree<float>(logits, golden.transformers_logits, tolerance);
  EXPECT_TRUE(agree);
  RecordProperty("worst", agree.message());
}

/// How far the reference is from PyTorch when it takes the golden steps.
struct Distance {
  double on_the_way = 0;   // of losses and gradient norms, relative
  double at_the_end = 0;   // of parameters, the largest but for the keys' biases
  double keys_biases = 0;  // of these, the largest
};

Distance take_all_steps(const Golden& golden, const support::ReferenceAdamWOptions& options) {
  const model::Layout& layout = golden.start.layout;
  std::vector<double> parameters = golden.start.exact_parameters();
  support::ReferenceAdamW optimizer(layout, options);
  Distance distance;
  for (std::size_t s = 0; s < golden.steps.size(); ++s) {
    const support::GoldenStep& step = golden.steps[s];
    const double loss = reference_loss(golden, s, parameters);
    const double norm =
        optimizer.step(parameters, reference_gradients(golden, s, parameters), step.learning_rate);
    distance.on_the_way = std::max({distance.on_the_way, std::abs(loss - step.loss) / step.loss,
                                    std::abs(norm - step.gradient_norm) / step.gradient_norm});
  }
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    double& largest = support::is_keys_bias(layout, i) ? distance.keys_biases : distance.at_the_end;
    largest = std::max(largest, std::abs(parameters[i] - golden.final_parameters[i]));
  }
  return distance;
}

/// Adam divides a gradient by its own size, so its relative error becomes that share of the
/// learning rate. Gradients here are right to 10⁻¹⁵ of their tensor's rms (the test above), and the
/// smallest of N is below it by about as much: 10⁻¹⁵ N · 5·10⁻³ in each of ten steps, as of a
/// random walk.
double final_tolerance(const Golden& golden) {
  return 1e-15 * static_cast<double>(golden.start.layout.parameter_count()) * 5e-3 *
         std::sqrt(10.0);
}

TEST_P(GoldenOfFamily, TenStepsOfTheReferenceEndWherePyTorchEnds) {
  ASSERT_EQ(golden.steps.size(), 10U);
  const Distance distance = take_all_steps(golden, golden.adamw);
  EXPECT_LE(distance.on_the_way, final_tolerance(golden));
  EXPECT_LE(distance.at_the_end, final_tolerance(golden));
  // Noise of about the unit roundoff, divided by ε, in each step at the learning rate.
  double learning_rates = 0;
  for (const support::GoldenStep& step : golden.steps) learning_rates += step.learning_rate;
  EXPECT_LE(distance.keys_biases, support::kDoubleRoundoff / golden.adamw.epsilon * learning_rates);
  RecordProperty("worst",
                 fmt::format("{} on the way, {} at the end, keys' biases {}", distance.on_the_way,
                             distance.at_the_end, distance.keys_biases));
}

TEST_P(GoldenOfFamily, TenStepsWithOtherHyperparametersEndElsewhere) {
  std::vector<support::ReferenceAdamWOptions> others(5, golden.adamw);
  others[0].beta1 += 0.001;
  others[1].beta2 += 0.001;
  others[2].epsilon *= 1.1;
  others[3].weight_decay *= 1.01;
  others[4].clip *= 1.01;
  for (std::size_t i = 0; i < others.size(); ++i) {
    EXPECT_GT(take_all_steps(golden, others[i]).at_the_end, 100 * final_tolerance(golden))
        << "hyperparameter " << i;
  }
}

/// The gradient of the next batch is another, and the comparator says so.
TEST_P(GoldenOfFamily, RefusesTheGradientsOfOtherTokens) {
  EXPECT_FALSE(support::gradients_agree<double>(
      golden.start.layout, reference_gradients(golden, 1, golden.start.exact_parameters()),
      golden.first_gradients, support::gradient_tolerance(golden.start, support::kFloatRoundoff)));
}

TEST(Golden, RefusesATruncatedFile) {
  const std::filesystem::path golden = CLLM_TESTS_DIR "/golden";
  std::string folder = (std::filesystem::temp_directory_path() / "cllm-golden-XXXXXX").string();
  ASSERT_NE(mkdtemp(folder.data()), nullptr);
  std::filesystem::copy(golden, folder);
  EXPECT_NO_THROW(support::load_golden("gpt2", folder));
  const std::filesystem::path binary = std::filesystem::path(folder) / "gpt2.bin";
  std::filesystem::resize_file(binary, std::filesystem::file_size(binary) - 1);
  EXPECT_THROW(support::load_golden("gpt2", folder), Error);
  std::filesystem::remove(binary);
  EXPECT_THROW(support::load_golden("gpt2", folder), Error);
  std::filesystem::remove_all(folder);
}

/// The golden steps test clipping only if it bites in some steps and not in others.
TEST_P(GoldenOfFamily, ClipsSomeSteps) {
  const auto clipped =
      std::count_if(golden.steps.begin(), golden.steps.end(),
                    [&](const auto& step) { return step.gradient_norm > golden.adamw.clip; });
  EXPECT_GE(clipped, 3);
  EXPECT_LE(clipped, 7);
}

}  // namespace
}  // namespace cllm
