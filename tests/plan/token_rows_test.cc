#include "cllm/plan/token_rows.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "cllm/model/families.h"

namespace cllm::plan {
namespace {

model::ModelConfig shape(std::size_t vocabulary) {
  model::ModelConfig config = model::find_preset("tiny").shape;
  config.vocabulary = vocabulary;
  return model::with_usual_sizes(config);
}

TEST(TokenRows, UniformTokensAreThoseOfTheBirthdayProblem) {
  const model::Layout layout(shape(100));
  const TokenRows rows = expected_token_rows(layout, 50, Frequencies::kUniform);
  EXPECT_NEAR(rows.tokens, 100 * (1 - std::pow(0.99, 50)), 1e-9);
  EXPECT_NEAR(rows.elements, rows.tokens * 64, 1e-9);
  EXPECT_NEAR(rows.rows, rows.tokens, 1e-9);
  EXPECT_NEAR(expected_token_rows(layout, 1, Frequencies::kUniform).tokens, 1, 1e-9);
}

TEST(TokenRows, TextHasFewerDistinctTokens) {
  const model::Layout layout(shape(50'000));
  const double text = expected_token_rows(layout, 100'000, Frequencies::kZipf).tokens;
  EXPECT_LT(text, expected_token_rows(layout, 100'000, Frequencies::kUniform).tokens);
  EXPECT_GT(text, 1000);
  EXPECT_NEAR(expected_token_rows(layout, 1, Frequencies::kZipf).tokens, 1, 1e-9);
}

TEST(TokenRows, ThereAreNeverMoreThanTokensAndRows) {
  const model::Layout layout(shape(1000));
  double before = 0;
  for (const std::size_t tokens : std::vector<std::size_t>{1, 10, 1000, 100'000, 10'000'000}) {
    const double distinct = expected_token_rows(layout, tokens, Frequencies::kZipf).tokens;
    EXPECT_GT(distinct, before);
    EXPECT_LE(distinct, static_cast<double>(std::min<std::size_t>(tokens, 1000)) + 1e-9);
    before = distinct;
  }
}

TEST(TokenRows, ATableThatIsNotTrainedHasNone) {
  const model::Layout layout(shape(1000), model::Freeze("embeddings"));
  EXPECT_EQ(expected_token_rows(layout, 100, Frequencies::kZipf).elements, 0);
}

}  // namespace
}  // namespace cllm::plan
