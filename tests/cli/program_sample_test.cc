// Texts that are continued: where they stop, several at a time, and as JSON.
#include <algorithm>

#include "program_fixture.h"

namespace cllm::cli {
namespace {

using nlohmann::json;
using testing::HasSubstr;

class SampleTest : public ProgramTest {
 protected:
  SampleTest() {
    write("text.txt", sample_text(400));
    succeed(tiny("run", 3, {"--data", "text.txt", "--tokenizer", "bpe:300"}));
  }

  static Arguments sample(const Arguments& more) {
    return Arguments{"sample", "--checkpoint", "run"} + more;
  }
  std::vector<json> answers(const Arguments& more) const {
    std::vector<json> objects;
    for (const std::string& line : lines_of(succeed(sample(more + Arguments{"--jsonl"})).out)) {
      objects.push_back(json::parse(line));
    }
    return objects;
  }
};

TEST_F(SampleTest, StopsAtTheEndOfTextUnlessToldNotTo) {
  constexpr std::uint32_t kEnd = 1;
  ASSERT_THAT(succeed({"neighbours", "--checkpoint", "run", "#1"}).out, HasSubstr("<|endoftext|>"));
  // So hot that all tokens are as likely.
  const Arguments hot = {"--prompt", "the", "--tokens", "3000", "--temperature", "1000"};
  const json whole = answers(hot + Arguments{"--stop-at-end", "off"}).at(0);
  auto expected = whole["tokens"].get<std::vector<std::uint32_t>>();
  EXPECT_EQ(expected.size(), 3000u);
  EXPECT_EQ(whole["finish_reason"], "length");
  const auto end = std::ranges::find(expected, kEnd);
  ASSERT_NE(end, expected.end());
  expected.erase(end, expected.end());
  const json stopped = answers(hot).at(0);
  EXPECT_EQ(stopped["tokens"], expected);
  EXPECT_EQ(stopped["finish_reason"], "stop");
  const std::string text = stopped["completion"];
  EXPECT_TRUE(whole["completion"].get<std::string>().starts_with(text.substr(0, text.size() / 2)));
}

TEST_F(SampleTest, PromptsOfAFileAreContinuedAsEachAlone) {
  const Arguments greedy = {"--temperature", "0", "--tokens", "20"};
  const std::vector<std::string> prompts = {"the river", "a", "the lamp hides", "number 12", "the"};
  std::string file, text;
  for (const std::string& prompt : prompts) {
    file += prompt + "\n";
    const std::string alone = succeed(sample(greedy + Arguments{"--prompt", prompt})).out;
    text += (text.empty() ? "" : "---\n") + alone;
    const json answer = answers(greedy + Arguments{"--prompt", prompt}).at(0);
    EXPECT_EQ(alone, prompt + answer["completion"].get<std::string>() + "\n");
  }
  write("prompts.txt", file);
  EXPECT_EQ(succeed(sample(greedy + Arguments{"--prompts", "prompts.txt"})).out, text);

  std::string objects;
  for (const std::string& prompt : prompts) objects += json{{"prompt", prompt}}.dump() + "\n";
  write("prompts.jsonl", objects);
  const auto of_lines = answers(greedy + Arguments{"--prompts", "prompts.txt"});
  ASSERT_EQ(of_lines.size(), prompts.size());
  for (std::size_t i = 0; i < prompts.size(); ++i) EXPECT_EQ(of_lines[i]["prompt"], prompts[i]);
  EXPECT_EQ(answers(greedy + Arguments{"--prompts", "prompts.jsonl"}), of_lines);
}

TEST_F(SampleTest, WhatComesOutDependsOnTheSeedAndNotOnThreads) {
  std::string file;
  for (int i = 0; i < 12; ++i) file += "the\n";
  write("prompts.txt", file);
  const Arguments options = {"--prompts", "prompts.txt", "--tokens", "30"};
  const auto one = answers(options);
  EXPECT_EQ(answers(options + Arguments{"--threads", "2"}), one);
  EXPECT_NE(answers(options + Arguments{"--seed", "2"}), one);
  EXPECT_NE(one[0], one[1]);  // each has random numbers of its own
  EXPECT_EQ(answers({"--prompt", "the", "--tokens", "30"}).at(0), one[0]);
}

TEST_F(SampleTest, RefusesWhatItCannotDo) {
  const auto refuse = [&](const Arguments& more, const std::string& regex) {
    const ChildResult result = program(sample(more));
    expect_one_sentence(result, regex);
    EXPECT_EQ(result.out, "");
  };
  write("prompts.txt", "the\n\n");
  refuse({"--prompts", "prompts.txt"}, "prompts.txt:2 is empty");
  refuse({"--prompts", "none.txt"}, "none.txt");
  refuse({"--prompts", "prompts.txt", "--prompt", "x"}, "--prompts prompts.txt: leave out");
  refuse({"--threads", "0"}, "--threads 0: give at least 1");
  refuse({"--stop-at-end", "no"}, "--stop-at-end no: choose on or off");
  refuse({"--ignore-eos", "on"}, "it is called --stop-at-end here");
}

}  // namespace
}  // namespace cllm::cli
