#include "cllm/cli/run/prompts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <string>
#include <vector>

#include "support/error_of.h"
#include "support/scratch_directory.h"

namespace cllm::cli {
namespace {

using testing::ElementsAre;
using testing::EndsWith;
using testing::HasSubstr;

class PromptsTest : public testing::Test {
 protected:
  std::string file(const std::string& name, const std::string& contents) const {
    std::ofstream(scratch_.path() / name, std::ios::binary) << contents;
    return (scratch_.path() / name).string();
  }
  std::vector<std::string> texts(const std::string& name, const std::string& contents) const {
    std::vector<std::string> texts;
    for (const Prompt& prompt : read_prompts(file(name, contents))) texts.push_back(prompt.text);
    return texts;
  }
  std::string refusal(const std::string& name, const std::string& contents) const {
    const std::string path = file(name, contents);
    return support::error_of([&] { read_prompts(path); });
  }

 private:
  support::ScratchDirectory scratch_;
};

TEST_F(PromptsTest, AreLinesWhateverEndsThem) {
  EXPECT_THAT(texts("a.txt", "one\n two \nthree"), ElementsAre("one", " two ", "three"));
  EXPECT_THAT(texts("a.txt", "one\r\ntwo\r\n"), ElementsAre("one", "two"));
  EXPECT_THAT(texts("a.txt", "\xEF\xBB\xBFone\n"), ElementsAre("one"));
  EXPECT_THAT(texts("a.txt", "{\"prompt\": \"x\"}\n"), ElementsAre("{\"prompt\": \"x\"}"));
  EXPECT_THAT(read_prompts(file("a.txt", "one\ntwo\n"))[1].where, EndsWith("a.txt:2"));
}

TEST_F(PromptsTest, AreOfJsonWhereTheFileIsCalledSo) {
  EXPECT_THAT(texts("a.jsonl",
                    "{\"prompt\": \"a\\nb\"}\r\n{\"id\": [{\"prompt\": 1}], "
                    "\"prompt\": \"\\u00e9\"}"),
              ElementsAre("a\nb", "\u00E9"));
}

TEST_F(PromptsTest, RefusesALineWithoutOneAndNamesIt) {
  EXPECT_THAT(refusal("a.txt", "one\n\nthree\n"), HasSubstr("a.txt:2 is empty"));
  EXPECT_THAT(refusal("a.txt", ""), HasSubstr("a.txt is empty"));
  for (const std::string line :
       {"", "x", "[]", "\"prompt\"", "{\"prompt\": 1}", "{\"prompt\": \"\"}", "{\"text\": \"a\"}",
        "{\"prompt\": \"a\"", "{\"prompt\": \"a\"} x", "{\"prompt\": \"a\", \"prompt\": \"b\"}",
        "{\"prompt\": \"\xFF\"}"}) {
    EXPECT_THAT(refusal("a.jsonl", "{\"prompt\": \"a\"}\n" + line + "\n"),
                HasSubstr("a.jsonl:2 is no JSON object with one \"prompt\""))
        << line;
  }
  EXPECT_THAT(refusal("a.jsonl", std::string(300000, '[')), HasSubstr("a.jsonl:1 is no JSON"));
  EXPECT_THAT(support::error_of([] { read_prompts("/nowhere/a.txt"); }),
              HasSubstr("/nowhere/a.txt"));
}

}  // namespace
}  // namespace cllm::cli
