#include "cllm/cli/run/starting_point.h"

#include <gmock/gmock.h>

#include "support/error_of.h"

namespace cllm::cli {
namespace {

TEST(TextRules, AreThoseThatTheRunBeganWith) {
  StartingPoint origin;
  EXPECT_EQ(text_rules_of(origin), data::kTextRules);
  origin.kind = StartingPoint::Kind::kResumed;
  origin.checkpoint = "step.h5";
  origin.state = R"({"data": "x"})";
  EXPECT_EQ(text_rules_of(origin), data::TextRules::kFirst);
  origin.state = R"({"text_rules": 2})";
  EXPECT_EQ(text_rules_of(origin), data::TextRules::kSecond);
  origin.state = R"({"text_rules": 3})";
  EXPECT_THAT(support::error_of([&] { text_rules_of(origin); }), testing::HasSubstr("step.h5"));
  // A new run from old weights is a new one.
  origin.kind = StartingPoint::Kind::kInitial;
  EXPECT_EQ(text_rules_of(origin), data::kTextRules);
}

}  // namespace
}  // namespace cllm::cli
