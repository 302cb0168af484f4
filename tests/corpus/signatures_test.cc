#include "cllm/corpus/signatures.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <string>

#include "cllm/base/random.h"

namespace cllm::corpus {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

Signatures signatures_of(const std::vector<std::string_view>& tokens) {
  return {tokens, kernels::select_kernels()};
}

/// A vocabulary of words that share pieces, in letters of one to four bytes.
std::vector<std::string> random_words(std::size_t count) {
  const std::vector<std::string> letters = {"a", "b", "c", " ", "é", "字", "🙂", "\xFF"};
  RandomStream random(1, 0);
  std::vector<std::string> words(count);
  for (std::string& word : words) {
    for (std::size_t length = random.below(9); word.size() < length;) {
      word += letters[random.below(letters.size())];
    }
  }
  return words;
}

std::vector<std::string_view> views_of(const std::vector<std::string>& words) {
  return {words.begin(), words.end()};
}

TEST(PrimesTest, AreTheFirstOnes) {
  EXPECT_THAT(first_primes(0), IsEmpty());
  EXPECT_THAT(first_primes(1), ElementsAre(2));
  EXPECT_THAT(first_primes(11), ElementsAre(2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31));
  const std::vector<std::uint32_t> primes = first_primes(10'000);
  EXPECT_EQ(primes.back(), 104'729u);  // the 10,000th
  std::vector<std::uint32_t> by_division;
  for (std::uint32_t n = 2; by_division.size() < 1000; ++n) {
    if (std::ranges::none_of(by_division, [&](std::uint32_t p) { return n % p == 0; })) {
      by_division.push_back(n);
    }
  }
  EXPECT_TRUE(std::equal(by_division.begin(), by_division.end(), primes.begin()));
}

// Two tokens: "ab" has <a ab b> <ab ab>, "b" has <b b> <b>. So b> is the most frequent.
TEST(SignaturesTest, AreProductsOfPrimesByFrequency) {
  const Signatures signatures = signatures_of({"ab", "b"});
  EXPECT_EQ(signatures.features(), 7u);
  EXPECT_EQ(signatures.ranks(0).size(), 5u);
  EXPECT_EQ(signatures.ranks(1).size(), 3u);
  // The shared one has rank 0: the prime 2.
  EXPECT_EQ(signatures.ranks(0)[0], 0u);
  EXPECT_EQ(signatures.ranks(1)[0], 0u);
  // The other ranks are dealt out once each.
  std::set<std::uint32_t> ranks(signatures.ranks(0).begin(), signatures.ranks(0).end());
  ranks.insert(signatures.ranks(1).begin(), signatures.ranks(1).end());
  EXPECT_EQ(ranks.size(), 7u);
  EXPECT_EQ(*ranks.rbegin(), 6u);

  const std::vector<std::uint32_t> primes = first_primes(7);
  double products[2] = {1, 1};
  for (const std::uint32_t t : {0u, 1u}) {
    for (const std::uint32_t rank : signatures.ranks(t)) products[t] *= primes[rank];
  }
  // Rounding: half a unit of 2^-16 in each of at most five logarithms, over a sum of log max.
  const double most = std::log(std::max(products[0], products[1]));
  EXPECT_NEAR(signatures.similarity(0, 1), std::log(2.0) / most, 6 * 0x1p-17 / most + 0x1p-23);
}

TEST(SignaturesTest, SimilarityIsOfSets) {
  const Signatures signatures =
      signatures_of({"hello", "hello", "hellos", "Help", "xyz", "", "aaaaaa", "aaaaaaaa"});
  EXPECT_EQ(signatures.similarity(0, 0), 1.0f);
  EXPECT_EQ(signatures.similarity(0, 1), 1.0f);
  EXPECT_LT(signatures.similarity(0, 2), 1.0f);
  EXPECT_GT(signatures.similarity(0, 2), signatures.similarity(0, 3));
  EXPECT_GT(signatures.similarity(0, 3), 0.0f);
  EXPECT_EQ(signatures.similarity(0, 4), 0.0f);
  EXPECT_EQ(signatures.similarity(0, 3), signatures.similarity(3, 0));
  // Nothing is like a token without bytes, not even itself.
  EXPECT_THAT(signatures.ranks(5), IsEmpty());
  EXPECT_EQ(signatures.similarity(5, 5), 0.0f);
  EXPECT_EQ(signatures.similarity(5, 0), 0.0f);
  // A feature counts once, however often a token has it.
  EXPECT_EQ(signatures.similarity(6, 7), 1.0f);
}

// Grams are of characters: one of three bytes is a unit, a byte of none is one too.
TEST(SignaturesTest, GramsAreOfCharactersAndOfBytesThatAreNone) {
  const Signatures signatures = signatures_of({"字", "\xFF", "字\xFF", "a", "<", "a<"});
  for (const std::uint32_t t : {0u, 1u, 3u, 4u}) EXPECT_EQ(signatures.ranks(t).size(), 3u) << t;
  EXPECT_EQ(signatures.ranks(2).size(), 5u);
  EXPECT_GT(signatures.similarity(0, 2), 0.0f);
  EXPECT_GT(signatures.similarity(1, 2), 0.0f);
  EXPECT_EQ(signatures.similarity(0, 1), 0.0f);
  // A mark is no character of the text.
  EXPECT_EQ(signatures.similarity(3, 4), 0.0f);
  EXPECT_EQ(signatures.ranks(5).size(), 5u);
}

TEST(SignaturesTest, TakeTokensOfAnyLength) {
  RandomStream random(2, 0);
  std::string first(100'000, ' ');
  for (char& each : first) each = static_cast<char>('!' + random.below(90));
  std::string second = first;
  second.back() = ' ';
  const Signatures signatures = signatures_of({first, second, "abc"});
  // Each of the characters that count, and the mark before them, begins two grams at most.
  EXPECT_LE(signatures.ranks(0).size(), 2 * (kMostCharacters + 1));
  EXPECT_EQ(signatures.similarity(0, 1), 1.0f);
  EXPECT_LT(signatures.weight(0), 0x7FFFFFFFu);
}

// By the definition, with sets of strings and logarithms in double.
TEST(SignaturesTest, AgreeWithTheDefinition) {
  const std::vector<std::string> words = random_words(150);
  const Signatures signatures = signatures_of(views_of(words));
  const std::vector<std::uint32_t> primes = first_primes(signatures.features());
  std::vector<std::uint32_t> having(signatures.features());
  for (std::uint32_t a = 0; a < words.size(); ++a) {
    const std::set<std::uint32_t> left(signatures.ranks(a).begin(), signatures.ranks(a).end());
    ASSERT_TRUE(std::ranges::is_sorted(signatures.ranks(a)));
    ASSERT_EQ(left.size(), signatures.ranks(a).size());
    for (const std::uint32_t rank : left) ++having[rank];
    double log_a = 0;
    for (const std::uint32_t rank : left) log_a += std::log(primes[rank]);
    for (std::uint32_t b = 0; b < words.size(); ++b) {
      double log_b = 0, log_gcd = 0;
      for (const std::uint32_t rank : signatures.ranks(b)) {
        log_b += std::log(primes[rank]);
        if (left.contains(rank)) log_gcd += std::log(primes[rank]);
      }
      const double most = std::max(log_a, log_b);
      const double expected = log_gcd > 0 ? log_gcd / most : 0;
      // A logarithm is rounded by 2^-17, which is at most 2^-16 of log 2 and of any larger one; so
      // are both sums, and their quotient by twice that.
      ASSERT_NEAR(signatures.similarity(a, b), expected, 2 * 0x1p-16) << words[a] << words[b];
    }
  }
  EXPECT_TRUE(std::ranges::is_sorted(having, std::greater<>()));
}

TEST(RelativesTest, AreTheMostSimilarOfAll) {
  const std::vector<std::string> words = random_words(300);
  const Signatures signatures = signatures_of(views_of(words));
  std::vector<std::uint8_t> is_listed(words.size());
  for (std::size_t t = 0; t < words.size(); ++t) is_listed[t] = t % 3 != 0;
  const RelativeIndex all(signatures), some(signatures, is_listed);
  RelativeIndex::Scratch scratch(all);
  for (std::uint32_t a = 0; a < words.size(); ++a) {
    for (const RelativeIndex* index : {&all, &some}) {
      std::vector<Relative> expected;
      for (std::uint32_t b = 0; b < words.size(); ++b) {
        const float similarity = signatures.similarity(a, b);
        if (b != a && similarity > 0 && (index == &all || is_listed[b] != 0)) {
          expected.push_back({b, similarity});
        }
      }
      std::ranges::stable_sort(expected, std::greater<>(), &Relative::similarity);
      for (const std::size_t most : {std::size_t{0}, std::size_t{7}, words.size()}) {
        const auto found = index->relatives(a, most, scratch);
        ASSERT_EQ(found.size(), std::min(most, expected.size()));
        ASSERT_TRUE(std::equal(found.begin(), found.end(), expected.begin())) << words[a];
      }
    }
  }
}

TEST(SignaturesTest, OfATokenizerAreOfItsBytes) {
  const auto tokenizer = data::make_tokenizer("bytes", "");
  const Signatures signatures(*tokenizer, kernels::select_kernels());
  ASSERT_EQ(signatures.size(), 256u);
  EXPECT_EQ(signatures.ranks('a').size(), 3u);
  EXPECT_EQ(signatures.similarity('a', 'b'), 0.0f);
}

}  // namespace
}  // namespace cllm::corpus
