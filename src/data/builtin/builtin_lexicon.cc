#include "builtin_lexicon.h"

#include <vector>

#include "builtin_words.h"
#include "inflection.h"

namespace cllm::data::english {
namespace {

Indefinite indefinite(GrammarBuilder& b, std::string_view list) {
  const std::vector<std::string> words = parse_words(list);
  std::vector<std::string> lower, upper;
  for (const std::string& word : words) {
    lower.emplace_back(indefinite_article(word));
    upper.push_back(capitalized(lower.back()));
  }
  return {b.words(words), {b.words(words, lower), b.words(words, upper)}};
}

VerbForms verbs(GrammarBuilder& b, std::string_view list) {
  std::vector<std::string> base, third, past, participle, gerund;
  for (const Verb& verb : parse_verbs(list)) {
    base.push_back(verb.base);
    third.push_back(verb.third);
    past.push_back(verb.past);
    participle.push_back(verb.participle);
    gerund.push_back(verb.gerund);
  }
  return {b.words(base), b.words(third), b.words(past), b.words(participle), b.words(gerund)};
}

}  // namespace

std::string capitalized(std::string text) {
  if (text.front() >= 'a' && text.front() <= 'z') text.front() -= 'a' - 'A';
  return text;
}

NounForms nouns(GrammarBuilder& b, std::string_view list) {
  std::string singular;
  std::vector<std::string> plural;
  for (const Noun& noun : parse_nouns(list)) {
    singular += noun.singular + ' ';
    plural.push_back(noun.plural);
  }
  return {indefinite(b, singular), b.words(plural)};
}

Indefinite either(GrammarBuilder& b, std::uint32_t weight, const Indefinite& first,
                  std::uint32_t other, const Indefinite& second) {
  const auto pick = [&](Symbol one, Symbol another) {
    return b.choice({{weight, {one}}, {other, {another}}});
  };
  return {pick(first.bare, second.bare),
          {pick(first.with_article[kLower], second.with_article[kLower]),
           pick(first.with_article[kUpper], second.with_article[kUpper])}};
}

Indefinite before_noun(GrammarBuilder& b, std::uint32_t weight, const Indefinite& plain,
                       std::uint32_t other, const Indefinite& modifier, Symbol noun) {
  const auto pick = [&](Symbol without, Symbol before) {
    return b.choice({{weight, {without}}, {other, {before, " ", noun}}});
  };
  return {pick(plain.bare, modifier.bare),
          {pick(plain.with_article[kLower], modifier.with_article[kLower]),
           pick(plain.with_article[kUpper], modifier.with_article[kUpper])}};
}

NounPhrases noun_phrases(GrammarBuilder& b, Symbol superlative, const Indefinite& singular,
                         Symbol plural, Symbol noun) {
  NounPhrases phrases;
  for (const Case c : {kLower, kUpper}) {
    const auto determiner = [&](const char* text) {
      return b.literal(c == kUpper ? capitalized(text) : text);
    };
    phrases[kSingular][c] = b.choice({{56, {determiner("the "), singular.bare}},
                                      {26, {singular.with_article[c]}},
                                      {5, {determiner("this "), singular.bare}},
                                      {4, {determiner("every "), singular.bare}},
                                      {3, {determiner("another "), singular.bare}},
                                      {3, {determiner("the "), superlative, " ", noun}}});
    phrases[kPlural][c] = b.choice({{54, {determiner("the "), plural}},
                                    {13, {determiner("some "), plural}},
                                    {9, {determiner("many "), plural}},
                                    {6, {determiner("two "), plural}},
                                    {5, {determiner("three "), plural}},
                                    {4, {determiner("these "), plural}},
                                    {4, {determiner("several "), plural}},
                                    {3, {determiner("a few "), plural}}});
  }
  return phrases;
}

Symbol any_number(GrammarBuilder& b, const NounPhrases& phrases) {
  return b.choice({{kNumberWeight[kSingular], {phrases[kSingular][kLower]}},
                   {kNumberWeight[kPlural], {phrases[kPlural][kLower]}}});
}

Lexicon::Lexicon(GrammarBuilder& b) {
  const NounForms person = nouns(b, words::kPersons);
  thing = nouns(b, words::kThings);
  thing_adjective = indefinite(b, words::kThingAdjectives);
  person_adjective = indefinite(b, words::kPersonAdjectives);
  material = indefinite(b, words::kMaterials);
  handle = verbs(b, words::kHandle);
  address = verbs(b, words::kAddress);
  act = verbs(b, words::kAct);
  think = verbs(b, words::kThink);
  control = verbs(b, words::kControl);
  happen = verbs(b, words::kHappen);
  std::vector<std::string> comparatives, superlatives;
  for (const ComparedAdjective& adjective : parse_compared(words::kCompared)) {
    comparatives.push_back(adjective.comparative);
    superlatives.push_back(adjective.superlative);
  }
  comparative = b.words(comparatives);
  superlative = b.words(superlatives);
  adverb = b.words(parse_adverbs(words::kManners));
  frequency = b.words({"never", "already", "often", "just", "always", "finally", "almost"});
  general_place = b.words(parse_words(words::kPlaces));
  place_preposition = b.words({"near", "behind", "beside", "inside", "outside", "above"});
  event_phrase = b.sequence(
      {b.words({"After", "Before", "During"}), " ", b.words(parse_words(words::kEvents))});
  conjunction = b.words({"When", "Because", "While", "Although", "Until", "Since"});

  const Indefinite person_core =
      before_noun(b, 66, person.singular, 34, person_adjective, person.singular.bare);
  const Symbol persons_core =
      b.choice({{66, {person.plural}}, {34, {person_adjective.bare, " ", person.plural}}});
  persons = noun_phrases(b, superlative, person_core, persons_core, person.singular.bare);
  any_person = any_number(b, persons);
}

}  // namespace cllm::data::english
