#include "cllm/cli/arguments.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/error_of.h"

namespace cllm::cli {
namespace {

using support::error_of;

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

class ParseTest : public testing::Test {
 protected:
  ParseTest() {
    add_option(app_, "--steps", steps_, "");
    add_option(app_, "--lr", rate_, "");
    add_option(app_, "--threads", threads_, "");
    CLI::App* sample = app_.add_subcommand("sample", "");
    add_option(*sample, "--prompt", prompt_, "");
  }

  std::string refusal(const Arguments& arguments) {
    const std::string message = error_of([&] { parse(app_, arguments); });
    EXPECT_THAT(message, Not(HasSubstr("\n")));
    return message;
  }

  CLI::App app_;
  std::uint64_t steps_ = 1;
  double rate_ = 0;
  int threads_ = 0;
  std::string prompt_;
};

TEST_F(ParseTest, ReadsOptionsAndSubcommands) {
  parse(app_, {"--steps", "7", "--lr=-0.5", "--threads", "-2"});
  EXPECT_EQ(steps_, 7u);
  EXPECT_EQ(rate_, -0.5);
  EXPECT_EQ(threads_, -2);
  parse(app_, {"sample", "--prompt", "two words"});
  EXPECT_EQ(prompt_, "two words");
}

TEST_F(ParseTest, OfAnOptionThatIsGivenTwiceTheLaterCounts) {
  parse(app_, {"--steps=7", "--steps", "8", "--steps=9"});
  EXPECT_EQ(steps_, 9u);
}

TEST_F(ParseTest, AnUnknownOptionComesWithTheNearestName) {
  EXPECT_THAT(refusal({"--stpes", "7"}), HasSubstr("--stpes; did you mean --steps?"));
  EXPECT_THAT(refusal({"--stpes=7"}), HasSubstr("--stpes; did you mean --steps?"));
  EXPECT_THAT(refusal({"sample", "--promt", "x"}), HasSubstr("did you mean --prompt?"));
  EXPECT_THAT(refusal({"--unheard-of"}),
              AllOf(HasSubstr("unknown option --unheard-of"), Not(HasSubstr("did you mean"))));
}

TEST_F(ParseTest, ARetiredOptionComesWithTheReason) {
  for (const Arguments& arguments : {Arguments{"--row-order", "ulam"}, {"--row-order=token"}}) {
    EXPECT_THAT(refusal(arguments),
                AllOf(HasSubstr("--row-order is no longer an option: "), HasSubstr("no gain")));
  }
}

TEST_F(ParseTest, AnUnknownSubcommandComesWithTheNearestName) {
  EXPECT_THAT(refusal({"smaple"}), HasSubstr("smaple; did you mean sample?"));
  EXPECT_THAT(refusal({"corpus.txt"}),
              AllOf(HasSubstr("unexpected argument corpus.txt"), Not(HasSubstr("did you mean"))));
}

TEST_F(ParseTest, AValueThatIsNoNumberIsRefused) {
  for (const char* value : {"abc", "1.5", "1e3", "-3", "7x", "99999999999999999999"}) {
    EXPECT_THAT(refusal({"--steps", value}), AllOf(HasSubstr("--steps"), HasSubstr(value)));
  }
  EXPECT_THAT(refusal({"--lr", "fast"}), AllOf(HasSubstr("--lr"), HasSubstr("fast")));
  EXPECT_THAT(refusal({"--steps"}), HasSubstr("--steps"));
}

TEST_F(ParseTest, HelpIsNoError) {
  EXPECT_THROW(parse(app_, {"--help"}), CLI::CallForHelp);
  EXPECT_THROW(parse(app_, {"sample", "--help"}), CLI::CallForHelp);
}

}  // namespace
}  // namespace cllm::cli
