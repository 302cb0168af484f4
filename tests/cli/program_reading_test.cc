#include <gmock/gmock.h>

#include "program_fixture.h"

namespace cllm::cli {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

/// --windows, --loss-on and --attention-across-documents, as a user sees them.
class ProgramReadingTest : public ProgramTest {
 protected:
  ProgramReadingTest() {
    std::string answers, texts;
    for (const std::string& line : lines_of(sample_text(200))) {
      answers += nlohmann::json{{"prompt", line}, {"completion", " yes."}}.dump() + "\n";
      texts += nlohmann::json{{"text", line}}.dump() + "\n";
    }
    write("answers.jsonl", answers);
    write("texts.jsonl", texts);
  }

  const Arguments answers_ = {"--data", "answers.jsonl", "--tokenizer", "bpe:340"};
  const Arguments packed_ = {"--windows", "documents", "--attention-across-documents", "off"};
  const Arguments steady_ = {"--schedule", "constant", "--warmup", "0", "--batch", "5"};
};

TEST_F(ProgramReadingTest, DocumentsAndCompletionsGiveTheSameBitsOnAnyRanksAndThreads) {
  const Arguments options = answers_ + packed_ + steady_;
  EXPECT_THAT(succeed(tiny("one", 10, options)).out,
              AllOf(HasSubstr("documents in "), HasSubstr("% of them padding"),
                    HasSubstr("of its tokens count, those of completions and assistants")));
  succeed_on(2, tiny("two", 10, options));
  EXPECT_EQ(program(tiny("threads", 10, options + Arguments{"--threads", "2"})).exit_code, 0);
  EXPECT_EQ(digests("two"), digests("one"));
  EXPECT_EQ(digests("threads"), digests("one"));
  // A run that stopped is as if it hadn't, on other ranks.
  succeed_on(2, tiny("stopped", 5, options));
  succeed({"--resume", "stopped", "--steps", "10"});
  EXPECT_EQ(digests("stopped"), digests("one"));
  // metrics.jsonl has how many targets counted.
  const auto steps = metrics("one", "targets");
  ASSERT_EQ(steps.size(), 10u);
  EXPECT_LT(steps[0].at("targets").get<int>(), 5 * 64);
}

TEST_F(ProgramReadingTest, EachOptionMakesADifference) {
  const auto run = [&](const std::string& name, const Arguments& more) {
    succeed(tiny(name, 3, answers_ + steady_ + more));
    return digests(name);
  };
  const auto plain = run("plain", {"--loss-on", "all"});
  EXPECT_TRUE(metrics("plain", "targets").empty());
  EXPECT_NE(run("completions", {}), plain);
  EXPECT_NE(run("rows", {"--loss-on", "all", "--windows", "documents"}), plain);
  EXPECT_NE(run("apart", {"--loss-on", "all", "--attention-across-documents", "off"}), plain);
}

TEST_F(ProgramReadingTest, EvalCountsAsTheRunDoes) {
  succeed(tiny("run", 4, answers_ + packed_ + Arguments{"--eval-sequences", "all"}));
  const auto all = succeed({"eval", "--checkpoint", "run", "--data", "answers.jsonl"}).out;
  EXPECT_THAT(all, HasSubstr("bits per byte"));
  const auto one = succeed_on(2, {"eval", "--checkpoint", "run", "--data", "answers.jsonl"}).out;
  EXPECT_EQ(one, all);
  succeed(tiny("whole", 4, answers_ + Arguments{"--loss-on", "all"}));
  EXPECT_THAT(succeed({"eval", "--checkpoint", "whole", "--data", "answers.jsonl"}).out, Not(all));
}

TEST_F(ProgramReadingTest, ATokenFileDoesAsItsText) {
  succeed(Arguments{"tokenize", "--out", "a.tokens"} + answers_);
  succeed(Arguments{"tokenize", "--out", "t.tokens", "--data", "texts.jsonl", "--tokenizer",
                    "bpe:340"});
  EXPECT_THAT(succeed(tiny("run", 3, Arguments{"--data", "a.tokens"} + packed_)).out,
              HasSubstr("of its tokens count"));
  EXPECT_THAT(succeed(tiny("texts", 3, Arguments{"--data", "t.tokens"} + packed_)).out,
              AllOf(HasSubstr("documents in "), Not(HasSubstr("of its tokens count"))));
}

TEST_F(ProgramReadingTest, RefusesWhereNobodyKnowsDocuments) {
  write("train.bin", std::string(4000, '\1'));
  for (const Arguments& option :
       {Arguments{"--windows", "documents"}, Arguments{"--attention-across-documents", "off"}}) {
    expect_one_sentence(program(tiny("run", 2, Arguments{"--data", "train.bin"} + option)),
                        option[0] + ".*: nobody knows where the documents of .*train.bin begin");
  }
}

TEST_F(ProgramReadingTest, TheBuiltinCorpusIsOneDocument) {
  EXPECT_THAT(
      succeed(tiny("run", 2, packed_)).out,
      AllOf(HasSubstr("builtin: 1 document in "), HasSubstr("1 longer than a row goes on")));
}

}  // namespace
}  // namespace cllm::cli
