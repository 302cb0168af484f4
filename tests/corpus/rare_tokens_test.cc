#include "cllm/corpus/rare_tokens.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "cllm/base/random.h"
#include "cllm/corpus/token_counts.h"

namespace cllm::corpus {
namespace {

using Table = std::vector<float>;
using Counts = std::vector<std::uint64_t>;

constexpr std::size_t kColumns = 3;

Signatures signatures_of(const std::vector<std::string_view>& tokens) {
  return {tokens, kernels::select_kernels()};
}

double norm_of(const Table& table, std::size_t token) {
  double sum = 0;
  for (std::size_t i = 0; i < kColumns; ++i) {
    const double x = table[token * kColumns + i];
    sum += x * x;
  }
  return std::sqrt(sum);
}

TEST(TokenCountsTest, CountEveryToken) {
  const std::vector<std::uint16_t> tokens = {3, 0, 3, 3, 1};
  ThreadPool pool(1);
  EXPECT_EQ(count_tokens(data::TokenView(std::span<const std::uint16_t>(tokens)), 5, pool),
            (Counts{1, 1, 0, 3, 0}));
  EXPECT_EQ(count_tokens(data::TokenView(), 2, pool), (Counts{0, 0}));
}

TEST(RareTokensTest, GetTheMeanOfTheirRelatives) {
  // "lands" is rare; "land" and "lander" share pieces with it, "xyz" none.
  const Signatures signatures = signatures_of({"lands", "land", "lander", "xyz"});
  const Table before = {9, 9, 9, 4, 0, 0, 0, 5, 0, 0, 0, 6};
  Table table = before;
  const RareTokens found =
      start_rare_tokens(table, kColumns, Counts{2, 3, 10, 99}, signatures, 3, 1);
  EXPECT_EQ(found, (RareTokens{.rare = 1, .started = 1}));
  EXPECT_TRUE(std::equal(before.begin() + kColumns, before.end(), table.begin() + kColumns));

  const double land = signatures.similarity(0, 1), lander = signatures.similarity(0, 2);
  ASSERT_GT(land, lander);
  const double typical = std::sqrt((4.0 * 4 + 5 * 5 + 6 * 6) / 3);
  const double scale = typical / std::hypot(4 * land, 5 * lander);
  // Computed in double and rounded to float once.
  EXPECT_FLOAT_EQ(table[0], static_cast<float>(scale * 4 * land));
  EXPECT_FLOAT_EQ(table[1], static_cast<float>(scale * 5 * lander));
  EXPECT_EQ(table[2], 0.0f);
}

TEST(RareTokensTest, KeepTheirRowsWithoutRelatives) {
  const Signatures signatures = signatures_of({"abc", "xyz", "", "abcd"});
  const Table before = {1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 1, 1};
  const auto started = [&](const Counts& counts, std::uint64_t threshold) {
    Table table = before;
    const RareTokens found = start_rare_tokens(table, kColumns, counts, signatures, threshold, 1);
    EXPECT_EQ(table == before, found.started == 0);
    return found;
  };
  // Nothing shared; the only relative is rare too; nobody is frequent; nobody is rare.
  EXPECT_EQ(started({9, 0, 0, 9}, 5), (RareTokens{2, 0}));
  EXPECT_EQ(started({0, 9, 9, 0}, 5), (RareTokens{2, 0}));
  EXPECT_EQ(started({4, 4, 4, 4}, 5), (RareTokens{4, 0}));
  EXPECT_EQ(started({5, 5, 5, 5}, 5), (RareTokens{0, 0}));
  EXPECT_EQ(started({0, 9, 9, 9}, 5), (RareTokens{1, 1}));
}

TEST(RareTokensTest, KeepTheirRowsWhereTheirRelativesCancelOut) {
  const Signatures signatures = signatures_of({"ab", "ab", "ab"});
  Table table = {7, 7, 7, 1, -2, 3, -1, 2, -3};
  const Table before = table;
  EXPECT_EQ(start_rare_tokens(table, kColumns, Counts{0, 5, 5}, signatures, 1, 1),
            (RareTokens{1, 0}));
  EXPECT_EQ(table, before);
}

TEST(RareTokensTest, UseTheMostSimilarOnly) {
  std::vector<std::string> words = {"relative"};
  for (std::size_t i = 0; i < kRelativesOfRareToken; ++i) words.push_back("relative");
  words.push_back("relations");  // one too many
  const Signatures signatures =
      signatures_of(std::vector<std::string_view>(words.begin(), words.end()));
  Table table(words.size() * kColumns, 0.0f);
  Counts counts(words.size(), 1);
  counts[0] = 0;
  for (std::size_t t = 1; t + 1 < words.size(); ++t) table[t * kColumns] = 1;
  table[(words.size() - 1) * kColumns + 1] = 1;
  start_rare_tokens(table, kColumns, counts, signatures, 1, 1);
  EXPECT_FLOAT_EQ(table[0], 1.0f);
  EXPECT_EQ(table[1], 0.0f);
}

// Rows behind the tokenizer's vocabulary are left alone.
TEST(RareTokensTest, AreTheSameBitsOnAnyNumberOfThreads) {
  RandomStream random(1, 0);
  std::vector<std::string> words(500);
  Counts counts(words.size());
  for (std::size_t t = 0; t < words.size(); ++t) {
    while (words[t].size() < 5) words[t] += static_cast<char>('a' + random.below(4));
    counts[t] = random.below(10);
  }
  const Signatures signatures =
      signatures_of(std::vector<std::string_view>(words.begin(), words.end()));
  Table before((words.size() + 2) * kColumns);
  for (float& x : before) x = static_cast<float>(random.normal());
  Table first = before;
  const RareTokens found = start_rare_tokens(first, kColumns, counts, signatures, 5, 1);
  EXPECT_GT(found.started, 100u);
  double squares = 0, frequent = 0;
  for (std::size_t t = 0; t < words.size(); ++t) {
    if (counts[t] < 5) continue;
    squares += norm_of(first, t) * norm_of(first, t);
    ++frequent;
  }
  for (std::size_t t = 0; t < words.size(); ++t) {
    const bool changed = norm_of(first, t) != norm_of(before, t);
    EXPECT_TRUE(!changed || counts[t] < 5);
    // A norm of three floats, each rounded by 2^-24.
    const double expected = changed ? std::sqrt(squares / frequent) : norm_of(before, t);
    EXPECT_NEAR(norm_of(first, t), expected, 0x1p-22);
  }
  EXPECT_TRUE(std::equal(before.end() - 2 * kColumns, before.end(), first.end() - 2 * kColumns));
  for (const int threads : {2, 3, 7}) {
    Table table = before;
    EXPECT_EQ(start_rare_tokens(table, kColumns, counts, signatures, 5, threads), found);
    EXPECT_EQ(table, first);
  }
}

}  // namespace
}  // namespace cllm::corpus
