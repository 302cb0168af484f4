#include "cllm/data/builtin/grammar.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "cllm/base/error.h"
#include "data/builtin/derivations.h"

namespace cllm::data {
namespace {

using Symbol = Grammar::Symbol;
using testing::AmbiguitySearch;
using testing::Derivations;
using testing::InsideScorer;

class GrammarTest : public ::testing::Test {
 protected:
  Symbol word(const char* text) { return grammar_.literal(text); }
  Symbol sequence(const std::vector<Symbol>& parts) { return grammar_.sequence(parts); }
  Symbol choice(const std::vector<Grammar::Alternative>& alternatives) {
    return grammar_.choice(alternatives);
  }
  bool ambiguous(Symbol symbol) { return AmbiguitySearch(grammar_).ambiguous(symbol); }

  Grammar grammar_;
};

TEST_F(GrammarTest, EntropyAndLengthOfAHandComputedGrammar) {
  // S -> "a" (1/4) | "bb" (1/4) | "c" X (1/2);  X -> "d" (1/2) | "eee" (1/2)
  // H(X) = ln 2; H(S) = 2/4 ln 4 + 1/2 (ln 2 + H(X)) = 2 ln 2. E[bytes] = 1/4 + 2/4 + 1/2 (1 + 2).
  const Symbol x = choice({{5, word("d")}, {5, word("eee")}});
  const Symbol s = choice({{1, word("a")}, {1, word("bb")}, {2, sequence({word("c"), x})}});
  // A handful of additions of numbers around 1.
  EXPECT_NEAR(grammar_.entropy(s), 2 * std::log(2.0), 8 * 2.3e-16);
  EXPECT_NEAR(grammar_.expected_bytes(s), 2.25, 8 * 2.3e-16);
  EXPECT_EQ(grammar_.entropy(word("a")), 0);
}

TEST_F(GrammarTest, DrawsInProportionToTheWeights) {
  const Symbol s = choice({{1, word("a")}, {2, word("b")}, {5, word("c")}});
  RandomStream random(3, 0);
  std::map<std::string, double> drawn;
  constexpr int kDraws = 80000;
  for (int i = 0; i < kDraws; ++i) {
    std::string text;
    const double log_probability = grammar_.generate(s, random, text);
    EXPECT_NEAR(log_probability, std::log((text == "a" ? 1 : text == "b" ? 2 : 5) / 8.0), 1e-15);
    ++drawn[text];
  }
  for (const auto& [text, weight] : std::map<std::string, double>{{"a", 1}, {"b", 2}, {"c", 5}}) {
    const double p = weight / 8;
    // Five standard deviations of a binomial count.
    EXPECT_NEAR(drawn[text], kDraws * p, 5 * std::sqrt(kDraws * p * (1 - p))) << text;
  }
}

TEST_F(GrammarTest, RefusesWhatIsNoDistribution) {
  const Symbol a = word("a");
  EXPECT_THROW(choice({}), Error);
  EXPECT_THROW(choice({{1, a}, {0, a}}), Error);
  EXPECT_THROW(choice({{0xFFFFFFFF, a}, {1, a}}), Error);
  EXPECT_NO_THROW(choice({{0xFFFFFFFE, a}, {1, a}}));
  EXPECT_THROW(sequence({static_cast<Symbol>(1000)}), Error);
  EXPECT_THROW(grammar_.text(sequence({a, a})), Error);
  EXPECT_THROW(grammar_.probabilities(a), Error);
}

TEST_F(GrammarTest, ScorerSumsOverDerivations) {
  // "abc" as "a" "bc" (1/2 x 1/3) and as "ab" "c" (1/2 x 2/3); "ac" in one way.
  const Symbol s = sequence(
      {choice({{1, word("a")}, {1, word("ab")}}), choice({{1, word("bc")}, {2, word("c")}})});
  const Derivations two = InsideScorer(grammar_, "abc").whole_text(s);
  EXPECT_EQ(two.count, 2);
  EXPECT_NEAR(two.log_probability, std::log(0.5), 1e-15);
  const Derivations one = InsideScorer(grammar_, "ac").whole_text(s);
  EXPECT_EQ(one.count, 1);
  EXPECT_NEAR(one.log_probability, std::log(1.0 / 3), 1e-15);
  EXPECT_EQ(InsideScorer(grammar_, "ab").whole_text(s).count, 0);
  EXPECT_EQ(InsideScorer(grammar_, "abcc").whole_text(s).count, 0);

  // What ambiguity does to the entropy: the texts abbc, abc, ac have 1/6, 1/2, 1/3.
  const double of_texts = std::log(6.0) / 6 + std::log(2.0) / 2 + std::log(3.0) / 3;
  EXPECT_GT(grammar_.entropy(s), of_texts + 0.3);
}

TEST_F(GrammarTest, SearchFindsAmbiguity) {
  const Symbol a = word("a"), b = word("b");
  // Across a boundary.
  EXPECT_TRUE(ambiguous(
      sequence({choice({{1, a}, {1, word("ab")}}), choice({{1, word("bc")}, {2, word("c")}})})));
  // The same word twice in a list, also as different symbols, also further down.
  EXPECT_TRUE(ambiguous(choice({{1, a}, {1, b}, {1, a}})));
  EXPECT_TRUE(ambiguous(choice({{1, a}, {1, word("a")}})));
  EXPECT_TRUE(ambiguous(choice({{1, a}, {1, choice({{1, b}, {1, word("a")}})}})));
  // The text ends in two ways: with nothing, or with a choice of nothing.
  const Symbol maybe = choice({{1, word("")}, {1, b}});
  EXPECT_TRUE(ambiguous(choice({{1, a}, {1, sequence({a, maybe})}})));
  EXPECT_TRUE(ambiguous(sequence({maybe, maybe})));
  // Which of two nouns a modifier belongs to.
  const Symbol noun = choice({{1, word("cat")}, {1, word("man")}});
  const Symbol with_hat = choice({{1, noun}, {1, sequence({noun, word(" with hat")})}});
  EXPECT_TRUE(
      ambiguous(sequence({with_hat, word(" of "),
                          choice({{1, with_hat}, {1, sequence({noun, word(" with hat")})}})})));
  // Two alternatives that share a list, and part within it.
  const Symbol list = choice({{1, word("x")}, {1, choice({{1, word("xy")}, {1, word("z")}})}});
  EXPECT_TRUE(
      ambiguous(choice({{1, sequence({list, word("yw")})}, {1, sequence({list, word("w")})}})));
}

TEST_F(GrammarTest, SearchAcceptsWhatIsUnambiguous) {
  const Symbol a = word("a"), b = word("b");
  EXPECT_FALSE(ambiguous(a));
  EXPECT_FALSE(ambiguous(choice({{1, a}, {1, b}, {1, word("ab")}})));
  EXPECT_FALSE(ambiguous(
      sequence({choice({{1, a}, {1, word("ab")}}), choice({{1, word("c")}, {2, word("d")}})})));
  const Symbol maybe = choice({{1, word("")}, {1, b}});
  EXPECT_FALSE(ambiguous(sequence({maybe, a, maybe})));
  const Symbol list = choice({{1, word("x")}, {1, choice({{1, word("xy")}, {1, word("z")}})}});
  EXPECT_FALSE(
      ambiguous(choice({{1, sequence({list, word("v")})}, {1, sequence({list, word("w")})}})));
}

TEST_F(GrammarTest, SearchFindsACommonText) {
  const Symbol ends = choice({{1, word("b")}, {1, word("bc")}});
  const Symbol one = sequence({word("a"), ends});
  AmbiguitySearch search(grammar_);
  EXPECT_TRUE(search.share_a_text(one, word("abc")));
  EXPECT_FALSE(search.share_a_text(one, word("abd")));
  EXPECT_FALSE(search.share_a_text(one, word("abcd")));
}

}  // namespace
}  // namespace cllm::data
