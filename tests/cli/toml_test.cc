#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "cllm/cli/arguments.h"
#include "cllm/cli/retired_options.h"
#include "support/error_of.h"

namespace cllm::cli {
namespace {

using support::error_of;

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

/// An app with an option of each kind that a run has.
struct Options {
  Options() {
    add_option(app, "--steps", steps, "");
    add_option(app, "--lr", rate, "");
    add_option(app, "--threads", threads, "");
    add_option(app, "--data", data, "");
    add_option(app, "--config", config, "");
  }
  CLI::App app;
  std::uint64_t steps = 1;
  double rate = 1;
  int threads = 0;
  std::string data, config;
};

Arguments read(const std::string& text) {
  Options options;
  return arguments_from_toml(text, "run.toml", options.app);
}

std::string refusal(const std::string& text) {
  const std::string message = error_of([&] { read(text); });
  EXPECT_THAT(message, AllOf(testing::StartsWith("run.toml: "), Not(HasSubstr("\n"))));
  return message;
}

TEST(TomlTest, ReadsKeysAsOptions) {
  EXPECT_EQ(read("steps = 5\nlr=-1e-3\n\n  # a comment\n\tdata = \"my text\" # another\n"),
            (Arguments{"--data=my text", "--lr=-0.001", "--steps=5"}));
  EXPECT_EQ(read("steps = 5\r\nlr = 2\r\n"), (Arguments{"--lr=2", "--steps=5"}));
  EXPECT_EQ(read("steps = 5"), Arguments{"--steps=5"});
  EXPECT_EQ(read(""), Arguments{});
}

TEST(TomlTest, ReadsQuotedText) {
  EXPECT_EQ(read(R"(data = "a#b, c=[d]")"), Arguments{"--data=a#b, c=[d]"});
  EXPECT_EQ(read(R"(data = "say \"hi\" \\ \n\t")"), Arguments{"--data=say \"hi\" \\ \n\t"});
  EXPECT_EQ(read(R"(data = 'C:\new "x"')"), Arguments{"--data=C:\\new \"x\""});
}

TEST(TomlTest, RefusesWhatIsNotOneKeyAndOneValue) {
  for (const char* text :
       {"steps = 5\nlr 5", "steps = 5\n= 5", "lr = 1\nsteps =", "lr = 1\nsteps = 1 2",
        "lr = 1\ndata = my text", "lr = 1\ndata = \"a\" \"b\"", "lr = 1\ndata = \"a",
        "lr = 1\ndata = \"\\d\"", "steps = 5\nsteps = 6"}) {
    EXPECT_THAT(refusal(text), AllOf(HasSubstr("line 2: "), HasSubstr("of the form key = value")))
        << text;
  }
  EXPECT_THAT(refusal("steps = [1, 2]"), HasSubstr("line 1: steps takes one text or number"));
  EXPECT_THAT(refusal("lr = 1\n[run]\nsteps = 5"), HasSubstr("line 2: run is a section"));
}

TEST(TomlTest, RefusesAKeyWithoutAValueWhereNoOldProgramWroteIt) {
  EXPECT_THAT(refusal("lr = 1\ndata = \"\""), HasSubstr("line 2: data has no value; give one"));
  Options options;
  EXPECT_EQ(stored_arguments("lr = 1\ndata = \"\"", "step.h5", options.app), Arguments{"--lr=1"});
}

TEST(TomlTest, RefusesUnknownKeysWithTheNearestName) {
  EXPECT_THAT(refusal("stpes = 5"), HasSubstr("unknown key stpes; did you mean steps?"));
  EXPECT_THAT(refusal("momentum = 5"),
              AllOf(HasSubstr("unknown key momentum"), Not(HasSubstr("did you mean"))));
  // A file does not name another, nor ask for help.
  EXPECT_THAT(refusal("config = \"other\""),
              AllOf(HasSubstr("unknown key config"), Not(HasSubstr("did you mean"))));
  EXPECT_THAT(refusal("help = true"), HasSubstr("unknown key help"));
}

TEST(TomlTest, RetiredOptionsArePassedOverAndSaidWhereTheyHadAnEffect) {
  Options options;
  for (const char* text : {"lr = 1\nrow-order = \"ulam\"", "lr = 1\nrow-order = \"token\""}) {
    EXPECT_EQ(arguments_from_toml(text, "run.toml", options.app), Arguments{"--lr=1"});
    EXPECT_EQ(stored_arguments(text, "step.h5", options.app), Arguments{"--lr=1"});
  }
  EXPECT_THAT(
      retired_in("lr = 1\nrow-order = \"ulam\""),
      testing::ElementsAre(HasSubstr("--row-order was ulam; it is no longer an option: it")));
  EXPECT_THAT(retired_in("lr = 1\nrow-order = \"token\""), testing::IsEmpty());
}

void expect_same_after_a_round_trip(const std::string& data, double rate) {
  Options written;
  written.steps = std::numeric_limits<std::uint64_t>::max();
  written.rate = rate;
  written.threads = -3;
  written.data = data;
  const std::string text = toml_of(written.app, {"help"});
  Options back;
  parse(back.app, arguments_from_toml(text, "run.toml", back.app));
  EXPECT_EQ(back.steps, written.steps) << text;
  EXPECT_EQ(back.rate, written.rate) << text;
  EXPECT_EQ(back.threads, written.threads) << text;
  EXPECT_EQ(back.data, written.data) << text;
}

TEST(TomlTest, WhatIsWrittenIsReadBackTheSame) {
  for (const double rate : {1e-3, 1.0 / 3, -0.1, 6.02214076e23, 5e-324, 0.00123456789012345678}) {
    expect_same_after_a_round_trip("text.txt", rate);
  }
  for (const char* data : {"a b", "c#d", "e,f", "\"g\"", "it's", "h\\i", "[j]", "k=l", "1e3",
                           "true", " m ", "n\no\tp\r", "bpe:512", "\\", "\"", "Zürich"}) {
    expect_same_after_a_round_trip(data, 1);
  }
}

TEST(TomlTest, OptionsWithoutValueAndOmittedOnesAreNotWritten) {
  Options options;
  options.steps = 7;
  EXPECT_EQ(toml_of(options.app, {"help", "lr"}), "steps = 7\nthreads = 0\n");
}

}  // namespace
}  // namespace cllm::cli
