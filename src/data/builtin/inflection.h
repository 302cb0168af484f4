#pragma once

#include <string>
#include <string_view>
#include <vector>

/// The regular inflection of English, and a notation for the exceptions. Word lists are separated
/// by white space, and a list gives each exception where the word stands:
///
///     noun        "lamp"  "man/men"
///     verb        "open"  "drop*" (doubles its last letter)  "keep/kept"  "take/took/taken"
///                 "panic/panicked/panicked/panicking"
///     adjective   "bright"  "big*"
///     other       "the|storm" (a bar stands for a space)
namespace cllm::data::english {

struct Noun {
  std::string singular, plural;
};

struct Verb {
  std::string base;        ///< also the present of a plural: "they carry"
  std::string third;       ///< the present of a singular: "she carries"
  std::string past;        ///< "they carried"
  std::string participle;  ///< "they had carried", "carried by them"
  std::string gerund;      ///< "they were carrying"
};

struct ComparedAdjective {
  std::string plain, comparative, superlative;
};

std::vector<std::string> parse_words(std::string_view list);
std::vector<Noun> parse_nouns(std::string_view list);
std::vector<Verb> parse_verbs(std::string_view list);
std::vector<ComparedAdjective> parse_compared(std::string_view list);
/// Adverbs in -ly of a list of adjectives.
std::vector<std::string> parse_adverbs(std::string_view list);

/// "a " or "an ", by the sound that `phrase` begins with.
std::string_view indefinite_article(std::string_view phrase);

}  // namespace cllm::data::english
