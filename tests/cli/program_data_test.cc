#include <sentencepiece_trainer.h>

#include <unordered_map>

#include "program_fixture.h"

namespace cllm::cli {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

/// Sentences for SentencePiece's trainer.
class Sentences final : public sentencepiece::SentenceIterator {
 public:
  explicit Sentences(std::vector<std::string> sentences) : sentences_(std::move(sentences)) {}
  bool done() const override { return next_ == sentences_.size(); }
  void Next() override { ++next_; }
  const std::string& value() const override { return sentences_[next_]; }
  sentencepiece::util::Status status() const override { return {}; }

 private:
  std::vector<std::string> sentences_;
  std::size_t next_ = 0;
};

/// A model that knows the letters of some sentences alone, and has no bytes to fall back on.
std::string model_of_letters(const std::vector<std::string>& sentences) {
  Sentences iterator(sentences);
  const std::unordered_map<std::string, std::string> arguments = {
      {"model_type", "bpe"},
      {"vocab_size", "60"},
      {"normalization_rule_name", "identity"},
      {"minloglevel", "2"}};
  std::string blob;
  const auto status = sentencepiece::SentencePieceTrainer::Train(arguments, &iterator, &blob);
  EXPECT_TRUE(status.ok()) << status.ToString();
  return blob;
}

class ProgramDataTest : public ProgramTest {
 protected:
  ProgramDataTest() { write("a.txt", sample_text(400)); }
};

TEST_F(ProgramDataTest, SaysHowManyBytesTheTokensDoNotGiveBack) {
  write("letters.model", model_of_letters(lines_of(sample_text(40))));
  write("odd.txt", sample_text(200) + "QQ and Q.\n" + sample_text(200));
  const char* kLoss = "no tokens for [0-9]+ of [0-9]+ bytes";
  const auto tokenized = succeed(
      {"tokenize", "--data", "odd.txt", "--tokenizer", "letters.model", "--out", "odd.tokens"});
  EXPECT_THAT(tokenized.out, testing::ContainsRegex(kLoss));
  const Arguments train = tiny("run", 20, {"--tokenizer", "letters.model", "--data", "odd.txt"});
  EXPECT_THAT(succeed(train).out, testing::ContainsRegex(kLoss));
  // Also where the tokens are at hand already.
  EXPECT_THAT(succeed(tiny("cached", 1, {"--tokenizer", "letters.model", "--data", "odd.txt"})).out,
              AllOf(testing::ContainsRegex(kLoss), HasSubstr("cached in")));
  EXPECT_THAT(succeed(tiny("tokens", 1, {"--data", "odd.tokens"})).out,
              testing::ContainsRegex(kLoss));
  EXPECT_THAT(succeed({"eval", "--checkpoint", "run", "--data", "odd.txt"}).out,
              testing::ContainsRegex(kLoss));
  EXPECT_THAT(succeed({"compress", "--checkpoint", "run", "--calibrate", "odd.txt", "--out", "c.h5",
                       "--calibrate-sequences", "16", "--method", "rounding"})
                  .out,
              testing::ContainsRegex(kLoss));
  EXPECT_THAT(program({"sample", "--checkpoint", "run", "--prompt", "the Q", "--tokens", "2"}).err,
              HasSubstr("1 of 5 bytes"));
  EXPECT_EQ(succeed({"sample", "--checkpoint", "run", "--prompt", "the", "--tokens", "2"}).err, "");
  expect_one_sentence(program({"neighbours", "--checkpoint", "run", "Q"}), "1 of 1 bytes");
}

TEST_F(ProgramDataTest, ATokenizerThatSawNoSpaceGivesSpacesBack) {
  std::string text;
  for (int i = 0; i < 400; ++i) text += i < 360 ? "abcab\nbcabc\n" : "ab bc\n";
  write("t.txt", text);
  succeed({"tokenize", "--data", "t.txt", "--tokenizer", "bpe:265", "--out", "t.tokens"});
  EXPECT_THAT(succeed(tiny("run", 2, {"--data", "t.tokens"})).out, Not(HasSubstr("no tokens for")));
  const auto sample =
      succeed({"sample", "--checkpoint", "run", "--prompt", "ab bc", "--tokens", "1"});
  EXPECT_THAT(sample.out, HasSubstr("ab bc"));
}

TEST_F(ProgramDataTest, ASmallValidationPartIsSaid) {
  write("v.txt", "End of it.\n");
  EXPECT_THAT(succeed(tiny("run", 1, {"--data", "a.txt", "--validation-data", "v.txt"})).out,
              AllOf(HasSubstr("only 11 tokens validate"), HasSubstr("best")));
  EXPECT_THAT(succeed(tiny("other", 1, {"--data", "a.txt"})).out, Not(HasSubstr("validate:")));
}

TEST_F(ProgramDataTest, ATenthValidatesAlsoOfLongLines) {
  std::string paragraph;
  for (int i = 0; i < 100; ++i) paragraph += "one long paragraph of words ";
  write("p.txt", paragraph + "\nEnd\n");
  const char* part = "validation 281 tokens \\(281 bytes\\)";
  EXPECT_THAT(succeed(tiny("run", 2, {"--data", "p.txt"})).out, testing::ContainsRegex(part));
  const auto resumed = succeed({"--resume", "run", "--steps", "3"});
  EXPECT_THAT(resumed.out, testing::ContainsRegex(part));
  EXPECT_THAT(resumed.out, Not(HasSubstr("changed the data")));
}

TEST_F(ProgramDataTest, BinaryDataIsNoTextToAnyCommand) {
  write("a.gz", read("a.txt") + std::string("\0", 1));
  succeed(tiny("run", 1, {"--data", "a.txt"}));
  const std::string what = "a.gz is not text";
  const Arguments eval = {"eval", "--checkpoint", "run", "--data"};
  expect_one_sentence(program(eval + Arguments{"a.gz"}), what);
  expect_one_sentence(program(eval + Arguments{"a.txt", "--by-frequency", "a.gz"}), what);
  expect_one_sentence(
      program({"compress", "--checkpoint", "run", "--calibrate", "a.gz", "--out", "c.h5"}), what);
  expect_one_sentence(program({"tokenize", "--data", "a.gz", "--out", "a.tokens"}), what);
  expect_one_sentence(program(tiny("no", 1, {"--data", "a.gz"})), what);
  expect_one_sentence(program(tiny("no", 1, {"--data", "a.txt", "--validation-data", "a.gz"})),
                      what);
  // Where bytes are asked for, they are data, also for what is made of that.
  succeed({"tokenize", "--data", "a.gz", "--out", "a.tokens", "--tokenizer", "bytes"});
  succeed(tiny("bytes", 1, {"--data", "a.gz", "--tokenizer", "bytes"}));
  succeed({"eval", "--checkpoint", "bytes", "--data", "a.gz"});
}

TEST_F(ProgramDataTest, ARunAmongItsTextsGoesOn) {
  write("b.txt", sample_text(100));
  const auto first = succeed({"--data", ".", "--preset", "tiny", "--batch", "4", "--threads", "1",
                              "--eval-sequences", "8", "--steps", "2"});
  const std::size_t at = first.out.find("checkpoints/2");
  const std::string run = first.out.substr(at, first.out.find('\n', at) - at);
  const auto resumed = succeed({"--resume", run, "--steps", "3"});
  EXPECT_THAT(resumed.out, AllOf(HasSubstr("left out"), Not(HasSubstr("changed the data"))));
  const std::string what = "--out .*lies in --data \\.";
  expect_one_sentence(program({"tokenize", "--data", ".", "--out", "x.tokens"}), what);
  expect_one_sentence(
      program({"compress", "--checkpoint", run, "--calibrate", ".", "--out", "x.h5"}),
      "--out .*lies in --calibrate \\.");
}

TEST_F(ProgramDataTest, TheFormatOfDataIsNamed) {
  succeed({"tokenize", "--data", "a.txt", "--out", "a.tokens"});
  std::string raw;
  for (int i = 0; i < 5000; ++i) raw += std::string{static_cast<char>(i * i % 251), '\0'};
  write("raw.bin", raw);
  const auto data_line = [](const ChildResult& result) {
    const std::size_t at = result.out.find("\ndata ") + 1;
    return result.out.substr(at, result.out.find('\n', at) - at);
  };
  const auto train = [&](const std::string& data) {
    return data_line(succeed(tiny("run-" + data, 1, {"--data", data})));
  };
  EXPECT_THAT(train("a.txt"), HasSubstr("a.txt (text)"));
  EXPECT_THAT(train("a.tokens"), HasSubstr("a.tokens (token file)"));
  EXPECT_THAT(train("raw.bin"),
              HasSubstr("raw.bin (nanoGPT's raw 16-bit tokens, vocabulary 50257"));
  EXPECT_THAT(data_line(succeed({"eval", "--checkpoint", "run-a.txt", "--data", "a.txt"})),
              HasSubstr("a.txt (text)"));
  write("story.bin", sample_text(400).substr(0, 10000));
  expect_one_sentence(program(tiny("no", 1, {"--data", "story.bin"})), "story.bin is text");
}

}  // namespace
}  // namespace cllm::cli
