#include "inflection.h"

#include <algorithm>
#include <array>

namespace cllm::data::english {
namespace {

bool is_vowel(char c) { return std::string_view("aeiou").find(c) != std::string_view::npos; }

bool consonant_y(std::string_view word) {
  return word.size() > 1 && word.ends_with('y') && !is_vowel(word[word.size() - 2]);
}

std::string without_last(std::string_view word, std::size_t letters, std::string_view ending) {
  return std::string(word.substr(0, word.size() - letters)) + std::string(ending);
}

std::string plus(std::string_view word, std::string_view ending) {
  return without_last(word, 0, ending);
}

/// The plural of a noun and the third person of a verb.
std::string with_s(std::string_view word) {
  if (consonant_y(word)) return without_last(word, 1, "ies");
  for (const std::string_view hiss : {"s", "x", "z", "ch", "sh"}) {
    if (word.ends_with(hiss)) return plus(word, "es");
  }
  return plus(word, "s");
}

/// `word` with an ending that begins with e: "-ed", "-er", "-est".
std::string with_e(std::string_view word, bool doubles, std::string_view ending) {
  if (word.ends_with('e')) return plus(word, ending.substr(1));
  if (consonant_y(word)) return without_last(word, 1, "i") + std::string(ending);
  return plus(word, doubles ? word.substr(word.size() - 1) : "") + std::string(ending);
}

std::string with_ing(std::string_view word, bool doubles) {
  if (word.ends_with("ie")) return without_last(word, 2, "ying");
  const bool silent_e = word.ends_with('e') && !word.ends_with("ee") && !word.ends_with("oe");
  if (silent_e) return without_last(word, 1, "ing");
  return plus(word, doubles ? word.substr(word.size() - 1) : "") + "ing";
}

std::string with_ly(std::string_view word) {
  if (word.ends_with("le") && !is_vowel(word[word.size() - 3])) return without_last(word, 1, "y");
  if (word.ends_with("ic")) return plus(word, "ally");
  if (word.ends_with("ll")) return plus(word, "y");
  if (consonant_y(word) && word != "shy") return without_last(word, 1, "ily");
  return plus(word, "ly");
}

std::vector<std::string> split(std::string_view text, std::string_view separators) {
  std::vector<std::string> parts;
  for (std::size_t at = text.find_first_not_of(separators); at != std::string_view::npos;) {
    const std::size_t end = std::min(text.find_first_of(separators, at), text.size());
    parts.emplace_back(text.substr(at, end - at));
    at = text.find_first_not_of(separators, end);
  }
  return parts;
}

/// Takes the mark of a doubled last letter off `stem`.
bool take_doubling(std::string& stem) {
  if (!stem.ends_with('*')) return false;
  stem.pop_back();
  return true;
}

}  // namespace

std::vector<std::string> parse_words(std::string_view list) {
  std::vector<std::string> words = split(list, " \n");
  for (std::string& word : words) std::replace(word.begin(), word.end(), '|', ' ');
  return words;
}

std::vector<Noun> parse_nouns(std::string_view list) {
  std::vector<Noun> nouns;
  for (const std::string& entry : parse_words(list)) {
    const std::vector<std::string> forms = split(entry, "/");
    nouns.push_back({forms[0], forms.size() > 1 ? forms[1] : with_s(forms[0])});
  }
  return nouns;
}

std::vector<Verb> parse_verbs(std::string_view list) {
  std::vector<Verb> verbs;
  for (const std::string& entry : parse_words(list)) {
    std::vector<std::string> forms = split(entry, "/");
    const bool doubles = take_doubling(forms[0]);
    const std::string base = forms[0];
    if (forms.size() < 2) forms.push_back(with_e(base, doubles, "ed"));
    if (forms.size() < 3) forms.push_back(forms[1]);
    if (forms.size() < 4) forms.push_back(with_ing(base, doubles));
    verbs.push_back({base, with_s(base), forms[1], forms[2], forms[3]});
  }
  return verbs;
}

std::vector<ComparedAdjective> parse_compared(std::string_view list) {
  std::vector<ComparedAdjective> adjectives;
  for (std::string& stem : parse_words(list)) {
    const bool doubles = take_doubling(stem);
    adjectives.push_back({stem, with_e(stem, doubles, "er"), with_e(stem, doubles, "est")});
  }
  return adjectives;
}

std::vector<std::string> parse_adverbs(std::string_view list) {
  std::vector<std::string> adverbs = parse_words(list);
  std::transform(adverbs.begin(), adverbs.end(), adverbs.begin(), with_ly);
  return adverbs;
}

std::string_view indefinite_article(std::string_view phrase) {
  // Spelled with one kind of letter, spoken with the other.
  constexpr std::array<std::string_view, 4> kSpokenConsonant = {"uni", "use", "eu", "one"};
  constexpr std::array<std::string_view, 3> kSpokenVowel = {"hour", "honest", "heir"};
  const auto begins = [&](std::string_view prefix) { return phrase.starts_with(prefix); };
  if (std::any_of(kSpokenVowel.begin(), kSpokenVowel.end(), begins)) return "an ";
  if (std::any_of(kSpokenConsonant.begin(), kSpokenConsonant.end(), begins)) return "a ";
  return is_vowel(phrase.front()) ? "an " : "a ";
}

}  // namespace cllm::data::english
