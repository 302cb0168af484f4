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
#include "support/compare.h"
#include "support/error_of.h"
#include "support/example.h"
#include "support/reference_model.h"
#include "support/tolerance.h"
#include "support/variants.h"

namespace cllm {
namespace {

using model::Generator;
using model::SamplingOptions;
using support::Example;

const model::ModelConfig kShape{
    .layers = 2, .heads = 2, .channels = 16, .context = 12, .vocabulary = 23};

/// The reference's logits (1, V) after a text.
support::Matrix<double> reference_logits_after(const Example& e,
                                               std::span<const std::uint32_t> text) {
  const support::Matrix<double> logits =
      support::reference_logits<double>(e.layout, e.exact_parameters(), text, {1, text.size()});
  return support::rows_of(logits, {text.size() - 1});
}

std::vector<support::Variant> variants() {
  std::vector<support::Variant> variants = support::all_variants(kShape);
  model::ModelConfig codes = kShape;
  codes.embedding_rank = 6;
  variants.push_back({"gpt2_codes", codes});
  return variants;
}

class GeneratorTest : public testing::TestWithParam<support::Variant> {};
INSTANTIATE_TEST_SUITE_P(Variants, GeneratorTest, testing::ValuesIn(variants()),
                         support::NameOfParameter());

TEST_P(GeneratorTest, LogitsAreTheReferencesWhicheverWayTextComesIn) {
  const Example e = support::make_example(GetParam().config, 1, 12, 4);
  const model::Model model(GetParam().config, kernels::select_kernels());
  const double tolerance = support::logits_tolerance(e, support::kFloatRoundoff);
  const std::span<const std::uint32_t> text(e.inputs);
  Generator stepwise(model, e.parameters);
  for (std::size_t n = 1; n <= text.size(); ++n) {
    const support::Matrix<double> reference = reference_logits_after(e, text.first(n));
    EXPECT_TRUE(
        support::logits_agree(stepwise.advance(text.subspan(n - 1, 1)), reference, tolerance));
    Generator at_once(model, e.parameters);
    const std::span<const float> whole = at_once.advance(text.first(n));
    EXPECT_TRUE(support::logits_agree(whole, reference, tolerance));
    // The checker must refuse one logit that is a little off.
    std::vector<float> wrong(whole.begin(), whole.end());
    wrong[n] += 0.01f * (1 + std::abs(wrong[n]));
    EXPECT_FALSE(support::logits_agree<float>(wrong, reference, tolerance));
  }
}

TEST_P(GeneratorTest, GoesOnFromTheLatterHalfWhenTheContextIsFull) {
  const Example e = support::make_example(GetParam().config, 2, 12, 4);
  const model::Model model(GetParam().config, kernels::select_kernels());
  const std::span<const std::uint32_t> text(e.inputs);  // 24 tokens, twice the context
  Generator full(model, e.parameters);
  full.advance(text.first(12));
  const auto slid = full.advance(text.subspan(12, 1));
  EXPECT_TRUE(support::logits_agree(slid, reference_logits_after(e, text.subspan(7, 6)),
                                    support::logits_tolerance(e, support::kFloatRoundoff)));
  Generator fresh(model, e.parameters);
  const auto half = fresh.advance(text.subspan(7, 6));
  EXPECT_TRUE(std::ranges::equal(slid, half));
  // A prompt longer than the context is taken in too.
  Generator long_prompt(model, e.parameters);
  const auto logits = long_prompt.advance(text);
  Generator end(model, e.parameters);
  EXPECT_TRUE(std::ranges::equal(logits, end.advance(text.last(6))));
}

TEST_P(GeneratorTest, GoesOnFromWhatTwoTextsHaveInCommon) {
  Example e = support::make_example(GetParam().config, 2, 12, 4);
  const model::Model model(GetParam().config, kernels::select_kernels());
  const double tolerance = support::logits_tolerance(e, support::kFloatRoundoff);
  const std::span<const std::uint32_t> text(e.inputs);
  std::vector<std::uint32_t> fork(text.begin(), text.begin() + 9);
  fork[6] = (fork[6] + 1) % static_cast<std::uint32_t>(kShape.vocabulary);
  Generator generator(model, e.parameters);
  const auto expect_reference = [&](std::span<const std::uint32_t> whole) {
    EXPECT_TRUE(support::logits_agree(generator.advance_to(whole), reference_logits_after(e, whole),
                                      tolerance));
  };
  expect_reference(text.first(10));
  expect_reference(text.first(12));
  expect_reference(text.first(12));
  expect_reference(fork);
  expect_reference(text.first(3));
  expect_reference(text.last(5));
  generator.clear();
  Generator fresh(model, e.parameters);
  EXPECT_TRUE(std::ranges::equal(generator.advance(text.first(7)), fresh.advance(text.first(7))));
}

TEST_P(GeneratorTest, ComputesNothingThatTextsHaveInCommonAgain) {
  // With other parameters for what comes later: what was computed before is still of the old ones.
  const Example e = support::make_example(GetParam().config, 2, 12, 4);
  const model::Model model(GetParam().config, kernels::select_kernels());
  const std::span<const std::uint32_t> text(e.inputs);
  std::vector<float> to_parameters(e.parameters.begin(), e.parameters.end());
  std::vector<float> by_parameters = to_parameters;
  Generator to(model, to_parameters), by(model, by_parameters);
  to.advance_to(text.first(8));
  by.advance(text.first(8));
  for (std::size_t i = 0; i < to_parameters.size(); ++i) {
    to_parameters[i] = by_parameters[i] = to_parameters[i] + 0.1f * std::sin(static_cast<float>(i));
  }
  const auto whole = to.advance_to(text.first(11));
  EXPECT_TRUE(std::ranges::equal(whole, by.advance(text.subspan(8, 3))));
  Generator anew(model, to_parameters);
  EXPECT_FALSE(std::ranges::equal(whole, anew.advance_to(text.first(11))));
}

TEST(GeneratorThreadsTest, LogitsDoNotDependOnWhoHelps) {
  // Wide enough for products to be shared.
  model::ModelConfig shape = kShape;
  shape.channels = 64 * shape.heads;
  shape.vocabulary = 1000;
  const Example e = support::make_example(shape, 1, 12, 4);
  const model::Model model(shape, kernels::select_kernels());
  const std::span<const std::uint32_t> text(e.inputs);
  Generator alone(model, e.parameters);
  for (const int threads : {1, 2, 3, 5}) {
    ThreadPool helpers(threads);
    Generator helped(model, e.parameters, &helpers);
    alone.clear();
    EXPECT_TRUE(std::ranges::equal(helped.advance(text.first(9)), alone.advance(text.first(9))));
    for (std::size_t n = 9; n < 12; ++n) {
      EXPECT_TRUE(std::ranges::equal(helped.advance(text.subspan(n, 1)),
                                     alone.advance(text.subspan(n, 1))));
    }
  }
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
