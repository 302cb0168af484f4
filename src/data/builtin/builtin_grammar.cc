#include "builtin_grammar.h"

#include <array>
#include <string>
#include <vector>

#include "builtin_lexicon.h"
#include "builtin_words.h"
#include "grammar_builder.h"
#include "inflection.h"

// Note [The grammar is unambiguous]
//
// A text must have one derivation only, or the entropy of the derivations is more than that of the
// text. What English leaves open is closed by these rules:
// - the tense, topic, hero and trade of a paragraph show in its first sentence: each topic has
//   names of its own, and no verb has a past that equals its present;
// - prepositions that attach to a noun ("of", "from", "with") never attach to a verb, and those
//   that attach to a verb ("near", "behind", ...) never to a noun;
// - only a subject, or an object that ends its sentence, takes a relative clause; a relative
//   clause takes neither adverbs nor prepositional phrases, and a phrase in it no modifier behind;
// - two lists that may stand in one place and go on alike have no word form in common.
// The test follows all pairs of derivations of a sentence, and would find a second one.

namespace cllm::data {
namespace {

using namespace english;
using Option = GrammarBuilder::Option;

struct Hero {
  std::string name, role;
  Person person;
};

class Builder {
 public:
  BuiltinGrammar build();

 private:
  /// The symbols that depend on the topic, for one topic.
  struct TopicSymbols {
    Symbol place, near_place;
    Symbol things_core;  // plural, without determiner
    Symbol thing_core;
    NounPhrases things;
    Symbol any_thing, any_thing_of;  // of either number; the latter may have "of ..." behind
    std::array<std::array<std::array<Symbol, kCases>, kNumbers>, kTenses> thing_subject;
    std::array<std::array<std::array<Symbol, kCases>, kNumbers>, kTenses> person_subject;
    std::array<std::array<Symbol, kNumbers>, kTenses> thing_predicate;
    std::array<std::array<Symbol, kPersonCount>, kTenses> simple_predicate, predicate;
    std::array<std::array<Symbol, kCases>, kTenses> clause;
    Symbol quote, question;
    std::array<Symbol, kTenses> scene;
  };

  void add_noun_phrases(const words::Topic& words, TopicSymbols& topic);
  void add_subjects(TopicSymbols& topic);
  void add_thing_predicates(TopicSymbols& topic);
  void add_person_predicates(TopicSymbols& topic);
  Symbol object(const TopicSymbols& topic, Person person);
  Symbol simple_predicate(const TopicSymbols& topic, Tense tense, Person person);
  Symbol predicate(const TopicSymbols& topic, Tense tense, Person person);
  Symbol clause(const TopicSymbols& topic, Tense tense, Case letter);
  Symbol scene(const TopicSymbols& topic, Tense tense);
  void add_speech(TopicSymbols& topic);
  Symbol opening(const TopicSymbols& topic, Tense tense, const Hero& hero);
  Symbol sentence(const TopicSymbols& topic, Tense tense, const Hero& hero);
  Symbol topic_paragraph(const words::Topic& words);

  GrammarBuilder b_;
  const Lexicon lexicon_{b_};
};

void Builder::add_noun_phrases(const words::Topic& words, TopicSymbols& topic) {
  topic.place = b_.words(parse_words(words.places));
  topic.near_place =
      b_.sequence({lexicon_.place_preposition, " the ",
                   b_.choice({{55, {topic.place}}, {45, {lexicon_.general_place}}})});

  const NounForms own = nouns(b_, words.things);
  const Indefinite noun = either(b_, 72, own.singular, 28, lexicon_.thing.singular);
  const Symbol plural = b_.choice({{72, {own.plural}}, {28, {lexicon_.thing.plural}}});
  // "lamp", "brass lamp", "old lamp", "old brass lamp"
  const Indefinite of_material = before_noun(b_, 82, noun, 18, lexicon_.material, noun.bare);
  const Symbol plural_of_material =
      b_.choice({{82, {plural}}, {18, {lexicon_.material.bare, " ", plural}}});
  const Indefinite core =
      before_noun(b_, 70, of_material, 30, lexicon_.thing_adjective, of_material.bare);
  topic.thing_core = core.bare;
  topic.things_core = b_.choice(
      {{70, {plural_of_material}}, {30, {lexicon_.thing_adjective.bare, " ", plural_of_material}}});
  topic.things = noun_phrases(b_, lexicon_.superlative, core, topic.things_core, noun.bare);
  topic.any_thing = any_number(b_, topic.things);
  topic.any_thing_of =
      b_.choice({{88, {topic.any_thing}}, {12, {topic.any_thing, " of ", lexicon_.any_person}}});
}

/// Subjects, with what may stand between their noun and its verb.
void Builder::add_subjects(TopicSymbols& topic) {
  for (const Tense tense : {kPast, kPresent}) {
    for (const Number number : {kSingular, kPlural}) {
      const Agreement& agreement = kAgreement[person_of(number)];
      for (const Case c : {kLower, kUpper}) {
        const Symbol thing = topic.things[number][c];
        const Symbol person = lexicon_.persons[number][c];
        std::vector<Option> things = {
            {60, {thing}},
            {12, {thing, " of ", lexicon_.any_person}},
            {7, {thing, " from the ", topic.place}},
            {7, {thing, " that ", lexicon_.happen.finite(tense, agreement)}}};
        std::vector<Option> persons = {
            {66, {person}},
            {7, {person, " from the ", topic.place}},
            {7, {person, " with ", topic.any_thing}},
            {5, {person, " who ", lexicon_.act.finite(tense, agreement)}},
            {9, {person, " who ", lexicon_.handle.finite(tense, agreement), " ", topic.any_thing}}};
        for (const Number inner : {kSingular, kPlural}) {
          const Agreement& of_inner = kAgreement[person_of(inner)];
          const Symbol other = lexicon_.persons[inner][kLower];
          const std::uint32_t share = kNumberWeight[inner] / 6;
          things.push_back(
              {share, {thing, " that ", other, " ", lexicon_.handle.finite(tense, of_inner)}});
          persons.push_back(
              {share / 2,
               {person, " whom ", other, " ", lexicon_.address.finite(tense, of_inner)}});
        }
        topic.thing_subject[tense][number][c] = b_.choice(things);
        topic.person_subject[tense][number][c] = b_.choice(persons);
      }
    }
  }
}

void Builder::add_thing_predicates(TopicSymbols& topic) {
  for (const Tense tense : {kPast, kPresent}) {
    for (const Number number : {kSingular, kPlural}) {
      const Agreement& agreement = kAgreement[person_of(number)];
      const char* be = agreement.be[tense];
      const Symbol happen = lexicon_.happen.finite(tense, agreement);
      topic.thing_predicate[tense][number] =
          b_.choice({{28, {be, " ", lexicon_.thing_adjective.bare}},
                     {9, {be, " ", lexicon_.comparative, " than ", topic.any_thing}},
                     {13, {be, " ", lexicon_.handle.participle, " by ", lexicon_.any_person}},
                     {12, {be, " ", topic.near_place}},
                     {6, {be, " ", lexicon_.happen.gerund}},
                     {20, {happen}},
                     {6, {happen, " ", topic.near_place}}});
    }
  }
}

Symbol Builder::object(const TopicSymbols& topic, Person person) {
  std::vector<Option> options = {{70, {topic.any_thing_of}}};
  if (const char* possessive = kAgreement[person].possessive) {
    options.push_back({20, {possessive, " ", topic.thing_core}});
    options.push_back({10, {possessive, " ", topic.things_core}});
  }
  return b_.choice(options);
}

/// What a person does, without a clause inside that could take what follows.
Symbol Builder::simple_predicate(const TopicSymbols& topic, Tense tense, Person person) {
  const Agreement& agreement = kAgreement[person];
  const char* be = agreement.be[tense];
  const char* have = tense == kPast ? "had" : agreement.third_singular ? "has" : "have";
  const char* do_not = tense == kPast             ? "did not"
                       : agreement.third_singular ? "does not"
                                                  : "do not";
  const Symbol handle = lexicon_.handle.finite(tense, agreement);
  const Symbol address = lexicon_.address.finite(tense, agreement);
  const Symbol act = lexicon_.act.finite(tense, agreement);
  const Symbol thing = object(topic, person);
  std::vector<Option> options = {
      {26, {handle, " ", thing}},
      {9, {handle, " ", thing, " ", topic.near_place}},
      {3, {lexicon_.adverb, " ", handle, " ", thing}},
      {11, {address, " ", lexicon_.any_person}},
      {8, {act}},
      {7, {act, " ", lexicon_.adverb}},
      {6, {act, " ", topic.near_place}},
      {8, {be, " ", lexicon_.person_adjective.bare}},
      {6, {be, " ", lexicon_.handle.gerund, " ", thing}},
      {2, {be, " ", lexicon_.address.gerund, " ", lexicon_.any_person}},
      {2, {be, " ", lexicon_.act.gerund}},
      {5, {have, " ", lexicon_.frequency, " ", lexicon_.handle.participle, " ", thing}},
      {1,
       {have, " ", lexicon_.frequency, " ", lexicon_.address.participle, " ", lexicon_.any_person}},
      {1, {have, " ", lexicon_.frequency, " ", lexicon_.act.participle}},
      {3, {do_not, " ", lexicon_.handle.base, " ", thing}},
      {2, {do_not, " ", lexicon_.address.base, " ", lexicon_.any_person}}};
  for (const Number inner : {kSingular, kPlural}) {
    const Symbol owner_verb = lexicon_.handle.finite(tense, kAgreement[person_of(inner)]);
    options.push_back({kNumberWeight[inner] / 19,
                       {handle, " ", topic.any_thing, " that ", lexicon_.persons[inner][kLower],
                        " ", owner_verb}});
  }
  if (agreement.reflexive != nullptr) options.push_back({3, {address, " ", agreement.reflexive}});
  return b_.choice(options);
}

Symbol Builder::predicate(const TopicSymbols& topic, Tense tense, Person person) {
  const Agreement& agreement = kAgreement[person];
  const Symbol handle = lexicon_.handle.finite(tense, agreement);
  const Symbol think = lexicon_.think.finite(tense, agreement);
  const Symbol control = lexicon_.control.finite(tense, agreement);
  const Symbol thing = object(topic, person);
  std::vector<Option> options = {
      {72, {topic.simple_predicate[tense][person]}},
      {7, {think, " that ", topic.clause[tense][kLower]}},
      {6, {control, " to ", lexicon_.handle.base, " ", thing}},
      {3, {control, " to ", lexicon_.address.base, " ", lexicon_.any_person}},
      {2, {control, " to ", lexicon_.act.base}},
      {5, {handle, " ", thing, " and ", handle, " ", thing}}};
  if (agreement.pronoun != nullptr) {
    options.push_back(
        {4, {think, " that ", agreement.pronoun, " ", topic.simple_predicate[tense][person]}});
  }
  return b_.choice(options);
}

/// Subject and simple predicate.
Symbol Builder::clause(const TopicSymbols& topic, Tense tense, Case letter) {
  std::vector<Option> options;
  for (const Number number : {kSingular, kPlural}) {
    const std::uint32_t share = kNumberWeight[number];
    options.push_back(
        {share * 3,
         {topic.thing_subject[tense][number][letter], " ", topic.thing_predicate[tense][number]}});
    options.push_back({share * 2,
                       {topic.person_subject[tense][number][letter], " ",
                        topic.simple_predicate[tense][person_of(number)]}});
  }
  return b_.choice(options);
}

void Builder::add_person_predicates(TopicSymbols& topic) {
  for (const Tense tense : {kPast, kPresent}) {
    for (std::size_t person = 0; person < kPersonCount; ++person) {
      topic.simple_predicate[tense][person] =
          simple_predicate(topic, tense, static_cast<Person>(person));
    }
    for (const Case c : {kLower, kUpper}) topic.clause[tense][c] = clause(topic, tense, c);
    for (const Person person : {kShe, kHe, kIt, kThey}) {
      topic.predicate[tense][person] = predicate(topic, tense, person);
    }
  }
}

/// A sentence about others than the hero.
Symbol Builder::scene(const TopicSymbols& topic, Tense tense) {
  std::vector<Option> options;
  for (const Number number : {kSingular, kPlural}) {
    const std::uint32_t share = kNumberWeight[number];
    const Symbol thing_predicate = topic.thing_predicate[tense][number];
    options.push_back(
        {share * 5, {topic.thing_subject[tense][number][kUpper], " ", thing_predicate, "."}});
    options.push_back({share * 4,
                       {topic.person_subject[tense][number][kUpper], " ",
                        topic.predicate[tense][person_of(number)], "."}});
    // The verb agrees with the nearer of the two.
    options.push_back({share,
                       {"Neither ", topic.any_thing, " nor ", topic.things[number][kLower], " ",
                        thing_predicate, "."}});
  }
  options.push_back({60,
                     {"Both ", topic.any_thing, " and ", topic.any_thing, " ",
                      topic.thing_predicate[tense][kPlural], "."}});
  options.push_back({60,
                     {"Both ", lexicon_.any_person, " and ", lexicon_.any_person, " ",
                      topic.predicate[tense][kThey], "."}});
  return b_.choice(options);
}

/// What is said and asked between quotes, in a tense of its own.
void Builder::add_speech(TopicSymbols& topic) {
  const auto first_person = [&](Person person) {
    return b_.choice({{65, {topic.simple_predicate[kPast][person]}},
                      {35, {topic.simple_predicate[kPresent][person]}}});
  };
  topic.quote = b_.choice({{40, {topic.clause[kPresent][kUpper]}},
                           {40, {"I ", first_person(kI)}},
                           {20, {"We ", first_person(kWe)}}});
  std::vector<Option> questions = {{40, {"Who ", lexicon_.handle.past, " ", topic.any_thing_of}}};
  for (const Number number : {kSingular, kPlural}) {
    const Symbol thing = topic.thing_subject[kPresent][number][kLower];
    const std::string be = kAgreement[person_of(number)].be[kPresent];
    const std::uint32_t share = kNumberWeight[number];
    questions.push_back({share, {"Where " + be + " ", thing}});
    questions.push_back(
        {share / 2, {"Why " + be + " ", thing, " ", lexicon_.thing_adjective.bare}});
  }
  topic.question = b_.choice(questions);
}

/// The first sentence: it tells place, trade, name and tense.
Symbol Builder::opening(const TopicSymbols& topic, Tense tense, const Hero& hero) {
  const Agreement& agreement = kAgreement[hero.person];
  const std::string article(indefinite_article(hero.role));
  const std::string a_role = article + hero.role;
  const std::string a_role_named = a_role + " named " + hero.name;
  const char* be = agreement.be[tense];
  return b_.choice(
      {{30, {hero.name, " ", be, " ", a_role, " at the ", topic.place, "."}},
       {20,
        {"At the ", topic.place, ", ", a_role_named, " ", lexicon_.handle.finite(tense, agreement),
         " ", object(topic, hero.person), "."}},
       {15, {"Near the ", topic.place, tense == kPast ? " lived " : " lives ", a_role_named, "."}},
       {25,
        {hero.name, ", ", a_role, " from the ", topic.place, ", ",
         topic.predicate[tense][hero.person], "."}},
       {10, {"There ", be, " ", a_role_named, " who ", topic.predicate[tense][hero.person], "."}}});
}

Symbol Builder::sentence(const TopicSymbols& topic, Tense tense, const Hero& hero) {
  const std::string pronoun = kAgreement[hero.person].pronoun;
  const auto mention = [&](const std::string& first, const std::string& the) {
    return b_.choice({{52, {first}}, {32, {hero.name}}, {16, {the + hero.role}}});
  };
  const Symbol upper = mention(capitalized(pronoun), "The ");
  const Symbol lower = mention(pronoun, "the ");
  const Symbol predicate = topic.predicate[tense][hero.person];
  const auto speaker = [&](const std::string& verb) {
    return b_.choice({{55, {verb + " " + hero.name}},
                      {25, {pronoun + " " + verb}},
                      {20, {verb + " the " + hero.role}}});
  };
  return b_.choice(
      {{38, {upper, " ", predicate, "."}},
       {9, {lexicon_.event_phrase, ", ", lower, " ", predicate, "."}},
       {8,
        {lexicon_.conjunction, " ", topic.clause[tense][kLower], ", ", lower, " ", predicate, "."}},
       {9, {"\"", topic.quote, ",\" ", speaker(tense == kPast ? "said" : "says"), "."}},
       {5, {"\"", topic.question, "?\" ", speaker(tense == kPast ? "asked" : "asks"), "."}},
       {31, {topic.scene[tense]}}});
}

/// Paragraphs of one topic: three to seven sentences, all of one hero and one tense.
Symbol Builder::topic_paragraph(const words::Topic& words) {
  TopicSymbols topic{};
  add_noun_phrases(words, topic);
  add_subjects(topic);
  add_thing_predicates(topic);
  add_person_predicates(topic);
  for (const Tense tense : {kPast, kPresent}) topic.scene[tense] = scene(topic, tense);
  add_speech(topic);

  const auto of_hero = [&](const Hero& hero) {
    std::vector<Option> tenses;
    for (const Tense tense : {kPast, kPresent}) {
      const Symbol first = opening(topic, tense, hero);
      const Symbol next = b_.sequence({" ", sentence(topic, tense, hero)});
      const Symbol rest = b_.choice({{15, {next, next}},
                                     {25, {next, next, next}},
                                     {30, {next, next, next, next}},
                                     {20, {next, next, next, next, next}},
                                     {10, {next, next, next, next, next, next}}});
      tenses.push_back({tense == kPast ? 70U : 30U, {first, rest, "\n"}});
    }
    return b_.choice(tenses);
  };
  // Any name may have any trade; all are equally frequent.
  std::vector<Option> heroes;
  for (const std::string& role : parse_words(words.roles)) {
    for (const std::string& name : parse_words(words.women)) {
      heroes.push_back({1, {of_hero({name, role, kShe})}});
    }
    for (const std::string& name : parse_words(words.men)) {
      heroes.push_back({1, {of_hero({name, role, kHe})}});
    }
  }
  return b_.choice(heroes);
}

BuiltinGrammar Builder::build() {
  std::vector<Option> topics;
  for (const words::Topic& topic : words::kTopicWords) {
    topics.push_back({1, {topic_paragraph(topic)}});
  }
  const Symbol paragraph = b_.choice(topics);
  return {b_.take(), paragraph};
}

}  // namespace

BuiltinGrammar build_builtin_grammar() { return Builder().build(); }

}  // namespace cllm::data
