#include "cllm/model/generator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "cllm/base/error.h"
#include "support/error_of.h"
#include "support/example.h"
#include "support/reference_model.h"
#include "support/tolerance.h"

namespace cllm {
namespace {

using model::Generator;
using model::SamplingOptions;
using support::Example;

const model::ModelConfig kConfig{
    .layers = 2, .heads = 2, .channels = 16, .context = 12, .vocabulary = 23};
const model::ModelConfig kFactorised{
    .layers = 2, .heads = 2, .channels = 16, .context = 12, .vocabulary = 23, .embedding_rank = 6};

/// The reference's loss of `target` after `text`, for the last position alone.
double reference_loss_of_last(const Example& e, std::span<const std::uint32_t> text,
                              std::uint32_t target) {
  // The mean loss over n positions times n, less the same without the last position.
  const auto total = [&](std::size_t positions) {
    if (positions == 0) return 0.0;
    std::vector<std::uint32_t> inputs(text.begin(), text.begin() + static_cast<long>(positions));
    std::vector<std::uint32_t> targets(positions, target);
    return support::reference_loss<double>(e.layout, e.exact_parameters(), inputs, targets, 1,
                                           positions) *
           static_cast<double>(positions);
  };
  return total(text.size()) - total(text.size() - 1);
}

double loss_of(std::span<const float> logits, std::uint32_t target) {
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit));
  return std::log(sum) - static_cast<double>(logits[target]);
}

class GeneratorTest : public testing::TestWithParam<model::ModelConfig> {};
INSTANTIATE_TEST_SUITE_P(Tables, GeneratorTest, testing::Values(kConfig, kFactorised),
                         [](const auto& table) {
                           return std::string(table.param.is_factorised() ? "Factorised" : "Dense");
                         });

TEST_P(GeneratorTest, LogitsAreTheReferencesWhicheverWayTextComesIn) {
  const Example e = support::make_example(GetParam(), 1, 12, 4);
  const model::Model model(GetParam(), kernels::select_kernels());
  const double tolerance = support::gradient_tolerance(e, support::kFloatRoundoff) * 10;
  const std::span<const std::uint32_t> text(e.inputs);
  Generator stepwise(model, e.parameters);
  for (std::size_t n = 1; n <= text.size(); ++n) {
    Generator at_once(model, e.parameters);
    const auto one_by_one = stepwise.advance(text.subspan(n - 1, 1));
    const auto whole = at_once.advance(text.first(n));
    for (const std::uint32_t target : {0u, 11u, 22u}) {
      const double loss = reference_loss_of_last(e, text.first(n), target);
      EXPECT_NEAR(loss_of(one_by_one, target), loss, tolerance * loss) << n;
      EXPECT_NEAR(loss_of(whole, target), loss, tolerance * loss) << n;
    }
  }
}

TEST_P(GeneratorTest, GoesOnFromTheLatterHalfWhenTheContextIsFull) {
  const Example e = support::make_example(GetParam(), 2, 12, 4);
  const model::Model model(GetParam(), kernels::select_kernels());
  const std::span<const std::uint32_t> text(e.inputs);  // 24 tokens, twice the context
  Generator full(model, e.parameters);
  full.advance(text.first(12));
  const auto slid = full.advance(text.subspan(12, 1));
  Generator fresh(model, e.parameters);
  const auto half = fresh.advance(text.subspan(7, 6));
  EXPECT_TRUE(std::ranges::equal(slid, half));
  // A prompt longer than the context is taken in too.
  Generator long_prompt(model, e.parameters);
  const auto logits = long_prompt.advance(text);
  Generator end(model, e.parameters);
  EXPECT_TRUE(std::ranges::equal(logits, end.advance(text.last(6))));
}

std::vector<int> draw_counts(const SamplingOptions& options, int draws) {
  const std::vector<float> logits = {std::log(0.1f), std::log(0.4f), std::log(0.2f),
                                     std::log(0.3f)};
  RandomStream random(3, 0);
  std::vector<int> counts(4);
  for (int i = 0; i < draws; ++i) ++counts[model::sample_token(logits, options, random)];
  return counts;
}

TEST(SampleToken, DrawsFromTheDistributionThatTheOptionsLeave) {
  constexpr int kDraws = 20000;
  const auto expect = [&](const SamplingOptions& options, std::vector<double> probabilities) {
    const std::vector<int> counts = draw_counts(options, kDraws);
    for (std::size_t i = 0; i < 4; ++i) {
      const double p = probabilities[i];
      EXPECT_NEAR(counts[i], kDraws * p, 5 * std::sqrt(kDraws * p * (1 - p))) << i;
    }
  };
  expect({.temperature = 1.0}, {0.1, 0.4, 0.2, 0.3});
  expect({.temperature = 0.0}, {0, 1, 0, 0});
  expect({.temperature = 0.5}, {0.01 / 0.3, 0.16 / 0.3, 0.04 / 0.3, 0.09 / 0.3});
  expect({.temperature = 1.0, .top_k = 2}, {0, 4.0 / 7, 0, 3.0 / 7});
  expect({.temperature = 1.0, .top_k = 100}, {0.1, 0.4, 0.2, 0.3});
  expect({.temperature = 1.0, .top_p = 0.65}, {0, 4.0 / 7, 0, 3.0 / 7});
  expect({.temperature = 1.0, .top_p = 0.1}, {0, 1, 0, 0});
}

TEST(SampleToken, RefusesScoresThatAreNotFinite) {
  RandomStream random(1, 0);
  std::vector<float> logits(300, 0.5f);
  for (const float odd : {std::nanf(""), std::numeric_limits<float>::infinity()}) {
    logits[7] = logits[200] = odd;
    for (const double temperature : {0.0, 1.0}) {
      EXPECT_THAT(support::error_of([&] {
                    model::sample_token(logits, {.temperature = temperature, .top_k = 9}, random);
                  }),
                  testing::HasSubstr("not finite; use an earlier checkpoint"));
    }
  }
}

TEST(SampleToken, RefusesOptionsThatMakeNoSense) {
  for (const SamplingOptions& options :
       {SamplingOptions{.temperature = -1}, SamplingOptions{.temperature = std::nan("")},
        SamplingOptions{.top_p = 0}, SamplingOptions{.top_p = 1.5}}) {
    EXPECT_THROW(model::validate(options), Error);
  }
  EXPECT_NO_THROW(model::validate(SamplingOptions{}));
}

}  // namespace
}  // namespace cllm
