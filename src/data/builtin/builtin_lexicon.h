#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "grammar_builder.h"

/// The words of the built-in corpus as symbols of a grammar, the features that make them agree,
/// and simple noun phrases.
namespace cllm::data::english {

using Symbol = Grammar::Symbol;

// Features, used as indices.
enum Number { kSingular, kPlural, kNumbers };
enum Tense { kPast, kPresent, kTenses };
enum Case { kLower, kUpper, kCases };  // a sentence begins with an upper-case letter
enum Person { kShe, kHe, kIt, kThey, kI, kWe, kPersonCount };

constexpr std::array<std::uint32_t, kNumbers> kNumberWeight = {62, 38};

/// What agrees with a subject. `kIt` is any noun in the singular, `kThey` any in the plural.
struct Agreement {
  bool third_singular;
  std::array<const char*, kTenses> be;
  const char *pronoun, *possessive, *reflexive;  // null where the gender is not known
};

constexpr std::array<Agreement, kPersonCount> kAgreement = {{
    {true, {"was", "is"}, "she", "her", "herself"},
    {true, {"was", "is"}, "he", "his", "himself"},
    {true, {"was", "is"}, nullptr, nullptr, nullptr},
    {false, {"were", "are"}, "they", "their", "themselves"},
    {false, {"was", "am"}, "I", "my", "myself"},
    {false, {"were", "are"}, "we", "our", "ourselves"},
}};

constexpr Person person_of(Number number) { return number == kSingular ? kIt : kThey; }

/// A kind of word that may come first after an article: "lamp", "a lamp", "A lamp".
struct Indefinite {
  Symbol bare;
  std::array<Symbol, kCases> with_article;
};

struct NounForms {
  Indefinite singular;
  Symbol plural;
};

struct VerbForms {
  Symbol base, third, past, participle, gerund;

  Symbol finite(Tense tense, const Agreement& agreement) const {
    if (tense == kPast) return past;
    return agreement.third_singular ? third : base;
  }
};

/// Noun phrases without anything behind the noun.
using NounPhrases = std::array<std::array<Symbol, kCases>, kNumbers>;

/// `text` with its first letter in upper case.
std::string capitalized(std::string text);

NounForms nouns(GrammarBuilder& b, std::string_view list);
/// One of two kinds of word.
Indefinite either(GrammarBuilder& b, std::uint32_t weight, const Indefinite& first,
                  std::uint32_t other, const Indefinite& second);
/// `plain`, or `modifier` and then `noun`.
Indefinite before_noun(GrammarBuilder& b, std::uint32_t weight, const Indefinite& plain,
                       std::uint32_t other, const Indefinite& modifier, Symbol noun);
/// Determiner and noun, also "the" `superlative` `noun`.
NounPhrases noun_phrases(GrammarBuilder& b, Symbol superlative, const Indefinite& singular,
                         Symbol plural, Symbol noun);
/// A noun phrase in the singular or in the plural, within a sentence.
Symbol any_number(GrammarBuilder& b, const NounPhrases& phrases);

/// The symbols that do not depend on the topic.
struct Lexicon {
  explicit Lexicon(GrammarBuilder& b);

  NounForms thing;
  Indefinite thing_adjective, person_adjective, material;
  VerbForms handle, address, act, think, control, happen;
  Symbol comparative, superlative, adverb;
  Symbol frequency;  ///< "never", "already"
  Symbol general_place, place_preposition;
  Symbol event_phrase;  ///< "After breakfast"
  Symbol conjunction;   ///< "When"
  NounPhrases persons;
  Symbol any_person;
};

}  // namespace cllm::data::english
