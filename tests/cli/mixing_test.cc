#include "cllm/cli/run/mixing.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "support/error_of.h"

namespace cllm::cli {
namespace {

using support::error_of;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using Json = nlohmann::json;

/// Prepared sources by their names, which stand for their tokens too.
data::PreparedMixture prepared(const std::vector<std::string>& names,
                               const std::vector<std::uint64_t>& parts) {
  data::PreparedMixture mixture{.names = names, .sources = {}, .parts = parts};
  for (const std::string& name : names) {
    data::PreparedData data;
    data.train.token_digest = name;
    mixture.sources.push_back(data);
  }
  return mixture;
}

/// A run that was saved after so many sequences.
StartingPoint saved(const Mixing& mixing, const data::PreparedMixture& data,
                    std::uint64_t sequences) {
  Json state = {{"data", data.digest()}, {"sequences", sequences}};
  if (!mixing.facts.empty()) state["mixture"] = Json::parse(mixing.facts);
  StartingPoint start;
  start.kind = StartingPoint::Kind::kResumed;
  start.checkpoint = "step.h5";
  start.state = state.dump();
  return start;
}

TEST(MixingTest, OneSourceFromTheBeginningSaysNothing) {
  const auto one = prepared({"a"}, {1}), other = prepared({"b"}, {1});
  const Mixing mixing = find_mixing({}, one);
  EXPECT_EQ(mixing.facts, "");
  // As ever, another text goes on where the first was.
  const Mixing later = find_mixing(saved(mixing, one, 40), other);
  EXPECT_EQ(later.facts, "");
  EXPECT_THAT(later.lines, IsEmpty());
  EXPECT_EQ(later.mixture[40].index, 40u);
}

TEST(MixingTest, TheSameSourcesGoOnAsIfNothingHadHappened) {
  const auto both = prepared({"a", "b"}, {7, 3});
  const Mixing mixing = find_mixing({}, both);
  const Mixing later = find_mixing(saved(mixing, both, 55), both);
  EXPECT_EQ(later.facts, mixing.facts);
  EXPECT_THAT(later.lines, IsEmpty());
  for (std::uint64_t n = 55; n < 100; ++n) {
    EXPECT_EQ(later.mixture[n].source, mixing.mixture[n].source);
    EXPECT_EQ(later.mixture[n].index, mixing.mixture[n].index);
  }
}

TEST(MixingTest, SourcesThatWereThereGoOnBehindWhatWasRead) {
  const auto both = prepared({"a", "b"}, {7, 3}), now = prepared({"b", "c"}, {1, 1});
  const Mixing mixing = find_mixing({}, both);
  const Mixing later = find_mixing(saved(mixing, both, 50), now);
  EXPECT_THAT(later.mixture.taken(50), ElementsAre(15, 0));
  EXPECT_THAT(later.lines, ElementsAre(HasSubstr("b is 50 %"), HasSubstr("c is 50 %")));
  // And once more, with what the second change left.
  const Mixing last = find_mixing(saved(later, now, 70), prepared({"c", "b", "a"}, {1, 1, 2}));
  EXPECT_THAT(last.mixture.taken(70), ElementsAre(10, 25, 0));
  // From one source to two.
  const auto one = prepared({"a"}, {1});
  EXPECT_THAT(find_mixing(saved(find_mixing({}, one), one, 9), both).mixture.taken(9),
              ElementsAre(9, 0));
}

TEST(MixingTest, RefusesAStateThatMakesNoSense) {
  const auto both = prepared({"a", "b"}, {7, 3});
  const Mixing mixing = find_mixing({}, both);
  for (const char* mixture :
       {"5", "{}", R"({"from": 0, "sources": []})", R"({"from": 0, "sources": [{"parts": 1}]})",
        R"({"from": 0, "sources": [{"digest": "a", "parts": 0, "taken": 0}]})",
        R"({"from": -1, "sources": "x"})",
        R"({"from": 99, "sources": [{"digest": "a", "parts": 1, "taken": 0}]})"}) {
    StartingPoint start = saved(mixing, both, 50);
    Json state = Json::parse(start.state);
    state["mixture"] = Json::parse(mixture);
    start.state = state.dump();
    EXPECT_THAT(error_of([&] { find_mixing(start, both); }), HasSubstr("step.h5")) << mixture;
  }
}

}  // namespace
}  // namespace cllm::cli
