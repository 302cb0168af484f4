#pragma once

#include <array>
#include <string_view>

/// The word stems of the built-in corpus, written for it. Each list is separated by white space,
/// goes from frequent to rare, and is in the notation of `inflection.h`.
namespace cllm::data::words {

inline constexpr int kTopics = 8;

/// What one topic has of its own. `women` and `men` are given names.
struct Topic {
  std::string_view places, roles, women, men, things;
};

extern const std::array<Topic, kTopics> kTopicWords;

// Nouns. No plural equals its singular: number must show.
extern const std::string_view kThings, kPersons;
/// Places of every topic, and what a sentence may be before, during or after.
extern const std::string_view kPlaces, kEvents;

// Verbs. No past equals the base: tense must show.
/// Verbs of persons: with a thing as object, with a person, without an object, with a clause
/// ("that ..."), with an infinitive ("to ...").
extern const std::string_view kHandle, kAddress, kAct, kThink, kControl;
/// Verbs without an object, of things.
extern const std::string_view kHappen;

// Adjectives and adverbs.
extern const std::string_view kThingAdjectives, kPersonAdjectives, kMaterials;
/// Short adjectives that are compared by -er and -est.
extern const std::string_view kCompared;
/// Adjectives that are only used as adverbs in -ly.
extern const std::string_view kManners;

}  // namespace cllm::data::words
