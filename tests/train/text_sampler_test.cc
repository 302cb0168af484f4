#include "cllm/train/text_sampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cllm/base/error.h"
#include "cllm/kernels/blas.h"
#include "cllm/model/initialize.h"
#include "cllm/train/state.h"

namespace cllm::train {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

/// More rows than the tokenizer has tokens, as a model of another program may have.
constexpr model::ModelConfig kShape{
    .layers = 2, .heads = 2, .channels = 32, .context = 16, .vocabulary = 300};

struct TextSamplerTest : testing::Test {
  TextSamplerTest() {
    kernels::prepare_blas(2);
    model::initialize(model.layout(), 1, parameters.span(), 2);
  }

  std::string sample(const TextSampler::Options& options, ThreadPool& helpers,
                     std::span<const std::uint32_t> rows = {}) const {
    return TextSampler(model, *tokenizer, helpers, rows, options).sample(parameters.span()).text;
  }

  const model::Model model{kShape, kernels::select_kernels()};
  AlignedBuffer<float> parameters{model.layout().flat_size()};
  const std::unique_ptr<data::Tokenizer> tokenizer =
      data::build_tokenizer(data::parse_tokenizer_spec("bytes"), "");
  ThreadPool one{1}, two{2};
};

TEST_F(TextSamplerTest, TheTextDependsOnPromptAndSeedAndNotOnThreads) {
  const std::string text = sample({.prompt = "The ", .tokens = 40, .seed = 3}, one);
  EXPECT_FALSE(text.empty());
  EXPECT_EQ(sample({.prompt = "The ", .tokens = 40, .seed = 3}, two), text);
  EXPECT_NE(sample({.prompt = "The ", .tokens = 40, .seed = 4}, one), text);
  EXPECT_NE(sample({.prompt = "A ", .tokens = 40, .seed = 3}, one), text);
  // No prompt is the beginning of a document: with bytes, which have no token for that, a new line.
  EXPECT_EQ(sample({.tokens = 40, .seed = 3}, one),
            sample({.prompt = "\n", .tokens = 40, .seed = 3}, one));
}

// An untrained model strings bytes together that are no characters.
TEST_F(TextSamplerTest, TheTextIsUtf8WhateverTheTokens) {
  const std::string text = sample({.tokens = 200}, one);
  EXPECT_NO_THROW([[maybe_unused]] const std::string json = nlohmann::json(text).dump());
  EXPECT_THAT(text, HasSubstr("\xEF\xBF\xBD"));
}

TEST_F(TextSamplerTest, RowsOfTokensMakeNoDifferenceThatIsntTheirs) {
  std::vector<std::uint32_t> same(kShape.vocabulary), turned(kShape.vocabulary);
  for (std::uint32_t i = 0; i < kShape.vocabulary; ++i) {
    same[i] = i;
    turned[i] = (i + 1) % static_cast<std::uint32_t>(kShape.vocabulary);
  }
  const TextSampler::Options options{.prompt = "The ", .tokens = 40};
  EXPECT_EQ(sample(options, one, same), sample(options, one));
  EXPECT_NE(sample(options, one, turned), sample(options, one));
}

TEST_F(TextSamplerTest, ADocumentBeginsBehindTheEndOfTheOneBefore) {
  std::string text;
  for (int i = 0; i < 300; ++i)
    text += "the river carries stone number " + std::to_string(i) + "\n";
  const auto pieces = data::build_tokenizer(data::parse_tokenizer_spec("bpe:290"), text);
  EXPECT_EQ(beginning_of_document(*pieces), std::vector{pieces->end_of_text().value()});
  EXPECT_EQ(beginning_of_document(*tokenizer), tokenizer->encode("\n"));
}

TEST_F(TextSamplerTest, ScoresThatAreNotFiniteAreAnError) {
  parameters.fill(std::numeric_limits<float>::quiet_NaN());
  EXPECT_THAT([&] { sample({.prompt = "The "}, one); },
              ThrowsMessage<Error>(HasSubstr("not finite")));
}

}  // namespace
}  // namespace cllm::train
