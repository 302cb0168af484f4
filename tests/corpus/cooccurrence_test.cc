#include "cllm/corpus/cooccurrence.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cllm/corpus/token_counts.h"
#include "support/error_of.h"
#include "support/reference_cooccurrence.h"

namespace cllm::corpus {
namespace {

using support::reference_cooccurrence;
using support::uneven_tokens;
using testing::HasSubstr;

struct Corpus {
  std::size_t tokens;
  std::size_t vocabulary;
  int window;
};

/// The counts as the rows of every share say, put into a dense array.
std::vector<std::uint64_t> counted(const TokenSample& tokens, std::size_t vocabulary, int window,
                                   std::size_t shares, int threads) {
  ThreadPool pool(threads);
  const WindowWeights weights(window);
  std::vector<std::uint64_t> counts(vocabulary * vocabulary);
  for (std::size_t share = 0; share < shares; ++share) {
    std::vector<std::uint32_t> wanted;
    for (std::size_t token = share; token < vocabulary; token += shares) {
      wanted.push_back(static_cast<std::uint32_t>(token));
    }
    const TokenPositions positions(tokens, vocabulary, wanted, pool);
    RowCounter counter(tokens, vocabulary, weights);
    for (std::size_t row = 0; row < wanted.size(); ++row) {
      const std::size_t token = wanted[row];
      std::size_t next = 0;
      counter.count(positions[row], [&](std::size_t context, std::uint64_t count) {
        EXPECT_GE(context, next) << "contexts ascend, and each comes once";
        EXPECT_GT(count, 0u);
        next = context + 1;
        counts[token * vocabulary + context] += count;
      });
    }
  }
  return counts;
}

TEST(CooccurrenceTest, CountsEveryPairOnceHoweverRowsAreDealt) {
  // A vocabulary on either side of a word of bits, windows that are longer than the corpus, and
  // more threads than tokens.
  for (const Corpus& c :
       {Corpus{500, 30, 4}, Corpus{500, 64, 1}, Corpus{400, 65, 7}, Corpus{300, 200, 16},
        Corpus{5, 9, 16}, Corpus{20, 1, 4}, Corpus{1, 3, 4}, Corpus{0, 2, 4}, Corpus{2, 4, 1}}) {
    const std::vector<std::uint32_t> tokens = uneven_tokens(c.tokens, c.vocabulary, 1);
    const std::vector<std::uint64_t> reference =
        reference_cooccurrence(tokens, c.vocabulary, static_cast<std::size_t>(c.window));
    const data::TokenView view(std::span<const std::uint32_t>{tokens});
    for (const std::size_t shares : {1U, 2U, 3U}) {
      for (const int threads : {1, 2, 4}) {
        EXPECT_EQ(counted(view, c.vocabulary, c.window, shares, threads), reference)
            << c.tokens << " tokens, V " << c.vocabulary << ", window " << c.window << ", "
            << shares << " shares, " << threads << " threads";
      }
    }
  }
}

TEST(CooccurrenceTest, TokensOf16BitsAreCountedAlike) {
  const std::vector<std::uint32_t> tokens = uneven_tokens(10'000, 50, 2);  // more than one piece
  const std::vector<std::uint16_t> narrow(tokens.begin(), tokens.end());
  EXPECT_EQ(counted(data::TokenView(std::span<const std::uint16_t>{narrow}), 50, 4, 1, 3),
            counted(data::TokenView(std::span<const std::uint32_t>{tokens}), 50, 4, 1, 1));
}

TEST(CooccurrenceTest, TokenCountsAndTotals) {
  for (const Corpus& c : {Corpus{500, 30, 4}, Corpus{7, 5, 4}, Corpus{4, 5, 4}, Corpus{3, 5, 4},
                          Corpus{1, 2, 3}, Corpus{0, 2, 3}, Corpus{9000, 40, 16}}) {
    const std::vector<std::uint32_t> tokens = uneven_tokens(c.tokens, c.vocabulary, 3);
    const data::TokenView view(std::span<const std::uint32_t>{tokens});
    ThreadPool pool(3);
    const std::vector<std::uint64_t> counts = count_tokens(view, c.vocabulary, pool);
    const std::vector<std::uint64_t> totals =
        cooccurrence_totals(view, counts, WindowWeights(c.window));
    const std::vector<std::uint64_t> reference =
        reference_cooccurrence(tokens, c.vocabulary, static_cast<std::size_t>(c.window));
    for (std::size_t i = 0; i < c.vocabulary; ++i) {
      EXPECT_EQ(counts[i], static_cast<std::uint64_t>(std::ranges::count(tokens, i)));
      const auto row = std::span(reference).subspan(i * c.vocabulary, c.vocabulary);
      EXPECT_EQ(totals[i], std::accumulate(row.begin(), row.end(), std::uint64_t{0}))
          << c.tokens << " tokens, token " << i;
    }
  }
}

TEST(CooccurrenceTest, PairsStayWithinAStretchOfASample) {
  constexpr std::size_t kVocabulary = 40;
  const std::vector<std::uint32_t> tokens = uneven_tokens(5000, kVocabulary, 4);
  const data::TokenView view(std::span<const std::uint32_t>{tokens});
  const TokenSample sample(view, 1003);
  ASSERT_EQ(sample.stretches(), 10u);
  ASSERT_EQ(sample.size(), 1000u);
  EXPECT_DOUBLE_EQ(sample.share(), 0.2);
  std::vector<std::uint64_t> reference(kVocabulary * kVocabulary), totals(kVocabulary);
  std::vector<std::uint32_t> read;
  for (std::size_t i = 0; i < sample.stretches(); ++i) {
    // Evenly spaced, from the first token to the last.
    const std::span stretch = std::span(tokens).subspan(4900 * i / 9, 100);
    read.insert(read.end(), stretch.begin(), stretch.end());
    const auto counts = reference_cooccurrence(stretch, kVocabulary, 4);
    std::ranges::transform(reference, counts, reference.begin(), std::plus());
  }
  for (std::size_t i = 0; i < reference.size(); ++i) totals[i / kVocabulary] += reference[i];
  EXPECT_EQ(counted(sample, kVocabulary, 4, 2, 3), reference);
  ThreadPool pool(3);
  const auto counts = count_tokens(sample, kVocabulary, pool);
  EXPECT_EQ(cooccurrence_totals(sample, counts, WindowWeights(4)), totals);
  std::size_t next = 0;
  sample.for_each(0, sample.size(), [&](std::size_t place, std::uint32_t token) {
    ASSERT_EQ(place, next++);
    EXPECT_EQ(token, read[place]);
  });
  EXPECT_EQ(next, read.size());
}

TEST(CooccurrenceTest, SamplesTakeWhatTheyMay) {
  const std::vector<std::uint32_t> tokens = uneven_tokens(300'000, 40, 5);
  const data::TokenView view(std::span<const std::uint32_t>{tokens});
  for (const std::uint64_t most : {1u, 9u, 10u, 99u, 1000u, 299'999u, 300'000u, 300'001u}) {
    const TokenSample sample(view, most);
    EXPECT_LE(sample.size(), most);
    EXPECT_GE(10 * sample.size(), 9 * std::min<std::uint64_t>(most, tokens.size())) << most;
  }
  EXPECT_EQ(TokenSample(view, 300'000).stretches(), 1u);
  EXPECT_EQ(TokenSample(data::TokenView(), 5).size(), 0u);
}

TEST(CooccurrenceTest, ASampleOfSourcesHasTheirShares) {
  std::vector<std::uint32_t> a(200'000), b(50'000);
  for (std::size_t i = 0; i < a.size(); ++i) a[i] = static_cast<std::uint32_t>(i);
  for (std::size_t i = 0; i < b.size(); ++i) b[i] = static_cast<std::uint32_t>(1'000'000 + i);
  const data::TokenView in_a{std::span<const std::uint32_t>(a)};
  const data::TokenView in_b{std::span<const std::uint32_t>(b)};
  const TokenSample sample({{in_a, 0.25}, {in_b, 0.75}}, 40'000);
  EXPECT_EQ(sample.corpus_size(), 250'000u);
  std::size_t of_a = 0, of_b = 0, next = 0;
  sample.for_each(0, sample.size(), [&](std::size_t place, std::uint32_t token) {
    ASSERT_EQ(place, next++);
    ++(token < 1'000'000 ? of_a : of_b);
  });
  EXPECT_EQ(of_a, 12'000u);  // 2.5 of 10 stretches, rounded
  EXPECT_EQ(of_b, 32'000u);
  // No neighbours across a border of stretches, and so none across sources.
  std::vector<std::uint32_t> around(9);
  const auto [before, after] = sample.around(of_a, 4, around.data());
  EXPECT_EQ(before, 0u);
  EXPECT_EQ(around[0], 1'000'000u);
  EXPECT_EQ(around[after], 1'000'000u + after);
  // A source that has less gives what it has.
  EXPECT_EQ(TokenSample({{in_a, 0.1}, {in_b, 0.9}}, 250'000).size(), 75'000u);
}

TEST(CooccurrenceTest, WeightsAreInverseDistances) {
  const WindowWeights weights(4);
  EXPECT_EQ(weights.window(), 4u);
  EXPECT_EQ((std::vector{weights[1], weights[2], weights[3], weights[4]}),
            (std::vector<std::uint64_t>{12, 6, 4, 3}));
}

TEST(CooccurrenceTest, RefusesWindowsOutOfRange) {
  for (const int window : {-1, 0, kLongestWindow + 1}) {
    EXPECT_THAT(support::error_of([&] { WindowWeights{window}; }),
                HasSubstr("out of range; give 1 to 16"));
  }
}

}  // namespace
}  // namespace cllm::corpus
