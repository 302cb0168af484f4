#include "cllm/data/builtin/builtin_corpus.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <cstdint>
#include <set>
#include <span>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cllm/base/digest.h"
#include "data/builtin/derivations.h"
#include "support/environment.h"

namespace cllm::data {
namespace {

using Symbol = Grammar::Symbol;

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

/// Lower-case words; everything but letters and hyphens separates.
std::vector<std::string> words_of(std::string_view text) {
  std::vector<std::string> words(1);
  for (const char c : text) {
    if (std::isalpha(static_cast<unsigned char>(c)) || c == '-') {
      words.back() += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    } else if (!words.back().empty()) {
      words.emplace_back();
    }
  }
  if (words.back().empty()) words.pop_back();
  return words;
}

/// What is not between quotes.
std::string narration(std::string_view line) {
  std::string outside;
  bool quoted = false;
  for (const char c : line) {
    if (c == '"') quoted = !quoted;
    if (!quoted) outside += c;
  }
  return outside;
}

TEST(BuiltinCorpus, ASeedGivesTheSameTextEverywhere) {
  const BuiltinCorpus corpus = generate_builtin_corpus(1, 1 << 20);
  EXPECT_EQ(corpus.text, generate_builtin_corpus(1, 1 << 20).text);
  EXPECT_NE(corpus.text, generate_builtin_corpus(2, 1 << 20).text);
  EXPECT_TRUE(corpus.text.starts_with(generate_builtin_corpus(1, 1 << 16).text));
  // Known from one machine; changes with every word and weight of the grammar.
  EXPECT_EQ(digest_hex(std::as_bytes(std::span(corpus.text))), "883252dc0232e7ac95405371a245b20e");
}

TEST(BuiltinCorpus, HasTheSizeAskedFor) {
  EXPECT_EQ(generate_builtin_corpus(1, 0).text, "");
  EXPECT_EQ(generate_builtin_corpus(1, 0).log_probability, 0);
  for (const std::size_t bytes : {1UL, 1000UL, 100000UL}) {
    const std::string text = generate_builtin_corpus(5, bytes).text;
    EXPECT_GE(text.size(), bytes);
    EXPECT_EQ(text.back(), '\n');
    EXPECT_LT(text.rfind('\n', text.size() - 2) + 1, bytes + (bytes == 1))
        << "one paragraph too many";
  }
}

TEST(BuiltinCorpus, RecordedProbabilityIsTheSumOverAllDerivations) {
  const auto& [grammar, paragraph] = builtin_grammar();
  RandomStream random(11, 0);
  const std::size_t samples = support::count_from_environment("CLLM_TEST_PARAGRAPHS", 100);
  for (std::size_t i = 0; i < samples; ++i) {
    std::string text;
    const double recorded = grammar.generate(paragraph, random, text);
    const testing::Derivations all = testing::InsideScorer(grammar, text).whole_text(paragraph);
    EXPECT_EQ(all.count, 1) << text;
    // Two sums of at most one term a byte, all of one sign, in different orders.
    const double tolerance = static_cast<double>(text.size()) * 2.3e-16 * -recorded;
    EXPECT_NEAR(all.log_probability, recorded, tolerance) << text;
  }
}

TEST(BuiltinCorpus, ProbabilityOfATextIsTheProductOverItsParagraphs) {
  const auto& [grammar, paragraph] = builtin_grammar();
  const BuiltinCorpus corpus = generate_builtin_corpus(7, 5000);
  double sum = 0;
  for (const std::string& line : lines_of(corpus.text)) {
    sum += testing::InsideScorer(grammar, line + '\n').whole_text(paragraph).log_probability;
  }
  EXPECT_NEAR(sum, corpus.log_probability, 5000 * 2.3e-16 * -sum);
}

/// One hero in one tense: the first sentence, and any other (without the space before it).
struct Sentences {
  Symbol first, other;
};

/// paragraph -> topic -> hero -> tense -> first sentence, rest, newline
Sentences sentences_of(const Grammar& grammar, Symbol hero, std::size_t tense) {
  const Symbol lengths = grammar.children(grammar.children(hero)[tense])[1];
  const Symbol next = grammar.children(grammar.children(lengths)[0])[0];
  return {grammar.children(grammar.children(hero)[tense])[0], grammar.children(next)[1]};
}

bool has_full_stop(const Grammar& grammar, Symbol symbol) {
  if (grammar.kind(symbol) == Grammar::Kind::kLiteral) {
    return grammar.text(symbol).find('.') != std::string_view::npos;
  }
  const auto parts = grammar.children(symbol);
  return std::any_of(parts.begin(), parts.end(),
                     [&](Symbol part) { return has_full_stop(grammar, part); });
}

/// Whether all that `symbol` derives has one full stop, at its end.
bool is_one_sentence(const Grammar& grammar, Symbol symbol) {
  const auto parts = grammar.children(symbol);
  switch (grammar.kind(symbol)) {
    case Grammar::Kind::kLiteral:
      return grammar.text(symbol) == ".";
    case Grammar::Kind::kSequence:
      return std::none_of(parts.begin(), parts.end() - 1,
                          [&](Symbol part) { return has_full_stop(grammar, part); }) &&
             is_one_sentence(grammar, parts.back());
    case Grammar::Kind::kChoice:
      return std::all_of(parts.begin(), parts.end(),
                         [&](Symbol part) { return is_one_sentence(grammar, part); });
  }
  return false;
}

// The next two are a proof and not a sample. Full stops cut a paragraph into its sentences; its
// first sentence is of one topic, hero and tense; and no sentence of those has two derivations.
// Heroes differ in nothing but name, trade and gender, so one woman and one man stand for all.
TEST(BuiltinCorpus, FirstSentenceTellsTopicHeroAndTense) {
  const auto& [grammar, paragraph] = builtin_grammar();
  const Symbol hero = grammar.children(grammar.children(paragraph)[0])[0];
  testing::AmbiguitySearch search(grammar);
  const Sentences past = sentences_of(grammar, hero, 0), present = sentences_of(grammar, hero, 1);
  EXPECT_FALSE(search.share_a_text(past.first, present.first));
  for (const Symbol topic : grammar.children(paragraph)) {
    for (const Symbol other : grammar.children(topic)) {
      if (other == hero) continue;
      for (const std::size_t tense : {0U, 1U}) {
        const Symbol first = sentences_of(grammar, other, tense).first;
        EXPECT_FALSE(search.share_a_text(past.first, first));
        EXPECT_FALSE(search.share_a_text(present.first, first));
      }
    }
  }
}

TEST(BuiltinCorpus, NoSentenceHasTwoDerivations) {
  const auto& [grammar, paragraph] = builtin_grammar();
  const auto topics = grammar.children(paragraph);
  const std::size_t count =
      std::min(topics.size(), support::count_from_environment("CLLM_TEST_TOPICS", 1));
  for (const Symbol topic : topics.first(count)) {
    const auto heroes = grammar.children(topic);
    // The first hero is a woman, the last a man.
    for (const auto& [hero, tense] : {std::pair(heroes.front(), 0UL), {heroes.back(), 1UL}}) {
      const auto [first, other] = sentences_of(grammar, hero, tense);
      EXPECT_TRUE(is_one_sentence(grammar, first));
      EXPECT_TRUE(is_one_sentence(grammar, other));
      testing::AmbiguitySearch search(grammar);
      EXPECT_FALSE(search.ambiguous(first));
      EXPECT_FALSE(search.ambiguous(other));
      EXPECT_GT(search.stacks(), 5000u);
    }
  }
}

TEST(BuiltinCorpus, EntropyRateIsTheLimitOfTheMeasured) {
  const auto& [grammar, paragraph] = builtin_grammar();
  const double rate = builtin_entropy_rate();
  EXPECT_DOUBLE_EQ(rate, grammar.entropy(paragraph) / grammar.expected_bytes(paragraph));
  const std::size_t seeds = support::count_from_environment("CLLM_TEST_SEEDS", 4);
  for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
    // Over independent paragraphs of n nats and b bytes, n - rate b has mean 0.
    constexpr int kParagraphs = 20000;
    RandomStream random(seed, 1);
    double nats = 0, bytes = 0, squares = 0, squared_nats = 0, squared_bytes = 0;
    for (int i = 0; i < kParagraphs; ++i) {
      std::string text;
      const double n = -grammar.generate(paragraph, random, text);
      const auto b = static_cast<double>(text.size());
      nats += n;
      bytes += b;
      squares += (n - rate * b) * (n - rate * b);
      squared_nats += n * n;
      squared_bytes += b * b;
    }
    // Four standard errors each, estimated from the paragraphs.
    const double rate_error = std::sqrt(squares) / bytes;
    EXPECT_NEAR(nats / bytes, rate, 4 * rate_error);
    EXPECT_LT(rate_error, 0.002 * rate) << "the bound is too wide to say anything";
    const double mean_nats = nats / kParagraphs, mean_bytes = bytes / kParagraphs;
    const auto standard_error = [&](double sum_of_squares, double mean) {
      return std::sqrt((sum_of_squares / kParagraphs - mean * mean) / kParagraphs);
    };
    EXPECT_NEAR(mean_nats, grammar.entropy(paragraph), 4 * standard_error(squared_nats, mean_nats));
    EXPECT_NEAR(mean_bytes, grammar.expected_bytes(paragraph),
                4 * standard_error(squared_bytes, mean_bytes));

    const BuiltinCorpus corpus = generate_builtin_corpus(seed, static_cast<std::size_t>(bytes));
    EXPECT_NEAR(-corpus.log_probability / static_cast<double>(corpus.text.size()), rate,
                4 * rate_error);
  }
}

TEST(BuiltinCorpus, HasSeveralThousandWords) {
  const std::size_t vocabulary = builtin_vocabulary_words();
  EXPECT_GE(vocabulary, 4000u);
  const std::vector<std::string> words = words_of(generate_builtin_corpus(3, 4 << 20).text);
  const std::set<std::string> seen(words.begin(), words.end());
  EXPECT_LE(seen.size(), vocabulary);
  EXPECT_GE(seen.size(), vocabulary * 95 / 100);
}

TEST(BuiltinCorpus, IsWellFormed) {
  for (const std::string& line : lines_of(generate_builtin_corpus(4, 1 << 20).text)) {
    EXPECT_TRUE(std::all_of(line.begin(), line.end(), [](char c) { return c >= ' ' && c <= '~'; }));
    EXPECT_TRUE(line.front() >= 'A' && line.front() <= 'Z') << line;
    EXPECT_EQ(line.back(), '.') << line;
    EXPECT_EQ(std::count(line.begin(), line.end(), '"') % 2, 0) << line;
    EXPECT_EQ(line.find("  "), std::string::npos) << line;
    for (std::size_t at = line.find(". "); at != std::string::npos; at = line.find(". ", at + 1)) {
      const char next = line[at + 2];
      EXPECT_TRUE(next == '"' || (next >= 'A' && next <= 'Z')) << line;
    }
  }
}

TEST(BuiltinCorpus, ArticlesFitTheWordBehind) {
  // Spelled with one kind of letter and spoken with the other: all that the lists have of them.
  const std::set<std::string> spoken_vowel = {"heir", "honest"};
  const std::set<std::string> spoken_consonant = {"useful", "useless", "unicycle"};
  const auto words = words_of(generate_builtin_corpus(6, 1 << 20).text);
  std::size_t checked = 0;
  for (std::size_t i = 0; i + 1 < words.size(); ++i) {
    if (words[i] != "a" && words[i] != "an") continue;
    const std::string& next = words[i + 1];
    const bool vowel = spoken_vowel.contains(next) ||
                       (std::string_view("aeiou").find(next[0]) != std::string_view::npos &&
                        !spoken_consonant.contains(next));
    EXPECT_EQ(words[i], vowel ? "an" : "a") << next;
    ++checked;
  }
  EXPECT_GT(checked, 1000u);
}

TEST(BuiltinCorpus, NumberAgreesAcrossTheClauseBetween) {
  // "The keys that the girl lost were ...": noun and verb are far apart. Known nouns of both
  // numbers, regular, so that the last letter tells.
  const std::set<std::string> singular = {"box", "key", "lamp", "basket", "picture", "lantern"};
  const std::set<std::string> plural = {"boxes",   "keys",     "lamps",
                                        "baskets", "pictures", "lanterns"};
  std::size_t checked = 0;
  for (const std::string& line : lines_of(generate_builtin_corpus(8, 4 << 20).text)) {
    std::istringstream sentences(narration(line));
    for (std::string sentence; std::getline(sentences, sentence, '.');) {
      const std::vector<std::string> words = words_of(sentence);
      // "<noun> that <determiner> <noun> <verb> <be>"
      for (std::size_t i = 0; i + 5 < words.size(); ++i) {
        const bool is_singular = singular.contains(words[i]);
        if (words[i + 1] != "that" || (!is_singular && !plural.contains(words[i]))) continue;
        const std::string& be = words[i + 5];
        if (be == "was" || be == "is" || be == "were" || be == "are") {
          EXPECT_EQ(be == "was" || be == "is", is_singular) << sentence;
          ++checked;
        }
      }
    }
  }
  EXPECT_GT(checked, 100u);
}

TEST(BuiltinCorpus, ParagraphKeepsItsHeroAndTense) {
  const std::set<std::string> female = {"she", "her", "herself"}, male = {"he", "his", "himself"};
  const std::set<std::string> past = {"was", "were", "did", "said", "asked", "lived"};
  const std::set<std::string> present = {"is", "are", "does", "says", "asks", "lives"};
  std::array<std::size_t, 4> seen{};
  for (const std::string& line : lines_of(generate_builtin_corpus(9, 1 << 20).text)) {
    std::array<bool, 4> has{};
    for (const std::string& word : words_of(narration(line))) {
      has[0] |= female.contains(word);
      has[1] |= male.contains(word);
      has[2] |= past.contains(word);
      has[3] |= present.contains(word);
    }
    EXPECT_FALSE(has[0] && has[1]) << line;
    EXPECT_FALSE(has[2] && has[3]) << line;
    for (std::size_t i = 0; i < 4; ++i) seen[i] += has[i];
  }
  for (const std::size_t paragraphs : seen) EXPECT_GT(paragraphs, 100u);
}

}  // namespace
}  // namespace cllm::data
