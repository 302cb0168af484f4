#include "cllm/cli/run/starting_point.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/error_of.h"

namespace cllm::cli {
namespace {

TEST(TextRules, AreThoseThatTheRunBeganWith) {
  StartingPoint start;
  EXPECT_EQ(text_rules_of(start), data::kTextRules);
  start.kind = StartingPoint::Kind::kResumed;
  start.checkpoint = "step.h5";
  start.state = R"({"data": "x"})";
  EXPECT_EQ(text_rules_of(start), data::TextRules::kFirst);
  start.state = R"({"text_rules": 2})";
  EXPECT_EQ(text_rules_of(start), data::TextRules::kSecond);
  start.state = R"({"text_rules": 3})";
  EXPECT_EQ(text_rules_of(start), data::TextRules::kThird);
  start.state = R"({"text_rules": 5})";
  EXPECT_THAT(support::error_of([&] { text_rules_of(start); }), testing::HasSubstr("step.h5"));
  // A new run from old weights is a new one.
  start.kind = StartingPoint::Kind::kInitial;
  EXPECT_EQ(text_rules_of(start), data::kTextRules);
}

TEST(ChangesSince, ARetiredOptionIsToldWhereItWasAskedFor) {
  CLI::App app;
  TrainSettings settings;
  declare_train_options(app, settings);
  parse(app, {});
  const std::string config = config_toml(app);
  StartingPoint start;
  start.kind = StartingPoint::Kind::kResumed;
  start.checkpoint = "step.h5";
  start.state = R"({"data": "x"})";
  start.config = config + "row-order = \"token\"\n";
  EXPECT_THAT(changes_since(start, config, app, "x", {}), testing::IsEmpty());
  start.config = config + "row-order = \"ulam\"\n";
  EXPECT_THAT(changes_since(start, config, app, "x", {}),
              testing::ElementsAre(testing::StartsWith(
                  "changed --row-order was ulam; it is no longer an option: it laid")));
}

}  // namespace
}  // namespace cllm::cli
