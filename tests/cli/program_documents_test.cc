#include <gmock/gmock.h>

#include "program_fixture.h"

namespace cllm::cli {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

/// JSON lines, separators and conversations, as commands take them.
class ProgramDocumentsTest : public ProgramTest {
 protected:
  ProgramDocumentsTest() {
    std::string stories, chats;
    for (const std::string& line : lines_of(sample_text(200))) {
      lines_ += nlohmann::json{{"text", line}}.dump() + "\n";
      stories += line + "\n---\n";
      chats += nlohmann::json{{"messages", {{{"role", "user"}, {"content", line}}}}}.dump() + "\n";
    }
    write("d/a.jsonl", lines_);
    write("d/stories.txt", stories);
    write("chats.jsonl", chats);
  }

  std::string lines_;
  const Arguments separated_ = {"--document-separator", "\n---\n"};
};

TEST_F(ProgramDocumentsTest, ARunOfDocumentsIsResumedAndEvaluated) {
  const Arguments data = Arguments{"--data", "d", "--tokenizer", "bpe:300"} + separated_;
  EXPECT_THAT(succeed(tiny("run", 3, data)).out,
              HasSubstr("(2 texts of a directory, 400 documents)"));
  const auto resumed = succeed(Arguments{"--resume", "run", "--steps", "4"});
  EXPECT_THAT(resumed.out, AllOf(HasSubstr("400 documents"), Not(HasSubstr("changed the data"))));
  // An evaluation has the separator of the run, on all ranks.
  for (const int ranks : {1, 2}) {
    EXPECT_THAT(succeed_on(ranks, {"eval", "--checkpoint", "run", "--data", "d"}).out,
                HasSubstr("400 documents"));
  }
  succeed(Arguments{"tokenize", "--out", "d.tokens"} + data);
  const auto back = program({"detokenize", "--data", "d.tokens", "--out", "-"});
  EXPECT_THAT(back.out, Not(HasSubstr("---")));
  EXPECT_THAT(back.err, HasSubstr("400 special tokens"));
}

TEST_F(ProgramDocumentsTest, ConversationsNeedATokenizerThatHasTheirMarkers) {
  const Arguments data = {"--data", "chats.jsonl", "--tokenizer", "bpe:300"};
  expect_one_sentence(program(tiny("run", 2, data)),
                      "chats.jsonl, line 1 is a conversation.*--special-tokens chatml");
  EXPECT_THAT(succeed(tiny("run", 2, data + Arguments{"--special-tokens", "chatml"})).out,
              HasSubstr("JSON lines, 200 documents"));
  succeed({"eval", "--checkpoint", "run", "--data", "chats.jsonl"});
}

TEST_F(ProgramDocumentsTest, ABadLineIsRefused) {
  write("b.jsonl", lines_ + "{\"text\": 5}\n");
  expect_one_sentence(program(tiny("run", 2, {"--data", "b.jsonl"})), "b.jsonl, line 201");
  expect_one_sentence(program({"tokenize", "--data", "b.jsonl", "--out", "b.tokens"}),
                      "b.jsonl, line 201");
  expect_one_sentence(program(tiny("run", 2, {"--document-separator", "x"})),
                      "--document-separator");
}

}  // namespace
}  // namespace cllm::cli
