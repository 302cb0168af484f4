#include <gmock/gmock.h>

#include "cllm/base/file.h"
#include "program_fixture.h"

namespace cllm::cli {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

/// Byte-level BPE, special tokens, and token files turned back into text.
class ProgramTokenizerTest : public ProgramTest {
 protected:
  ProgramTokenizerTest() {
    write("a.txt", text_);
    write("hub/tokenizer.json", golden("llama3"));
    write("qwen2.json", golden("qwen2"));
  }

  static std::string golden(const std::string& name) {
    return read_file(CLLM_TESTS_DIR "/golden/tokenizers/" + name + ".json");
  }
  std::string contents(const std::string& name) const { return read_file(directory() / name); }

  std::string text_ = sample_text(400) + "It's 1234 \u00E9 <|endoftext|>\r\n\n  x \xFF\n";
};

TEST_F(ProgramTokenizerTest, DetokenizeGivesTheTextBack) {
  for (const std::string kind : {"bytes", "bpe:300", "unigram:300", "hub", "hub/tokenizer.json"}) {
    succeed({"tokenize", "--data", "a.txt", "--tokenizer", kind, "--out", "a.tokens"});
    // The text is a document: all but bytes have a token for its end, and say that it is no text.
    const std::string note = "note    a.tokens: 1 special tokens, which stand for no text";
    const auto file = succeed({"detokenize", "--data", "a.tokens", "--out", "back.txt"});
    EXPECT_EQ(contents("back.txt"), text_) << kind;
    EXPECT_THAT(file.out, HasSubstr(std::to_string(text_.size())));
    EXPECT_EQ(file.out.starts_with(note), kind != "bytes") << file.out;
    const auto shown = program({"detokenize", "--data", "a.tokens", "--out", "-"});
    EXPECT_EQ(shown.exit_code, 0);
    EXPECT_EQ(shown.out, text_) << kind;
    EXPECT_EQ(shown.err.starts_with(note), kind != "bytes") << shown.err;
    EXPECT_EQ(shown.err.empty(), kind == "bytes") << shown.err;
    std::filesystem::remove(directory() / "a.tokens");
    std::filesystem::remove(directory() / "back.txt");
  }
}

TEST_F(ProgramTokenizerTest, DetokenizeSaysWhatIsNotExact) {
  write("nfc.txt", text_ + "e\u0301\n");
  succeed({"tokenize", "--data", "nfc.txt", "--tokenizer", "qwen2.json", "--out", "n.tokens"});
  const auto back = program({"detokenize", "--data", "n.tokens", "--out", "-"});
  EXPECT_EQ(back.exit_code, 0);
  EXPECT_EQ(back.out, text_ + "\u00E9\n");
  EXPECT_THAT(back.err, HasSubstr("no tokens for 3 of"));
}

TEST_F(ProgramTokenizerTest, DetokenizeRefusesWhatItCannotKnow) {
  succeed({"tokenize", "--data", "a.txt", "--tokenizer", "hub", "--out", "a.tokens"});
  const auto refuse = [&](const Arguments& more, const std::string& message) {
    expect_one_sentence(program(Arguments{"detokenize", "--out", "o.txt"} + more), message);
    EXPECT_FALSE(std::filesystem::exists(directory() / "o.txt"));
  };
  refuse({"--data", "a.txt"}, "a.txt is no token file");
  refuse({"--data", "none.tokens"}, "none.tokens");
  refuse({"--data", "a.tokens", "--tokenizer", "bytes"}, "another tokenizer than --tokenizer");
  refuse({"--data", "a.tokens", "--tokenizer", "bpe:300"}, "would be a new one");
  write("raw.bin", std::string("\x41\x00\x42\x00", 4));
  refuse({"--data", "raw.bin"}, "carries no tokenizer");
  EXPECT_EQ(succeed({"detokenize", "--data", "raw.bin", "--tokenizer", "bytes", "--out", "-"}).out,
            "AB");
  std::string spoiled = contents("a.tokens");
  spoiled[200] = static_cast<char>(spoiled[200] ^ 1);
  write("bad.tokens", spoiled);
  refuse({"--data", "bad.tokens"}, "bad.tokens");
}

TEST_F(ProgramTokenizerTest, ACheckpointIsEnoughToSampleFrom) {
  succeed(tiny("run", 3, {"--data", "a.txt", "--tokenizer", "hub"}));
  std::filesystem::remove_all(directory() / "hub");
  EXPECT_THAT(succeed({"sample", "--checkpoint", "run", "--prompt", "It's", "--tokens", "2"}).out,
              HasSubstr("It's"));
  EXPECT_THAT(succeed({"inspect", "run"}).out, HasSubstr("byte-level-bpe"));
  succeed({"eval", "--checkpoint", "run", "--data", "a.txt"});
  succeed(Arguments{"--resume", "run", "--steps", "4"});
}

TEST_F(ProgramTokenizerTest, SpecialTokensAreThoseThatWereAskedFor) {
  succeed(tiny("run", 2, {"--data", "a.txt", "--tokenizer", "bpe:300"}));
  succeed(
      tiny("chat", 2, {"--data", "a.txt", "--tokenizer", "bpe:300", "--special-tokens", "chatml"}));
  EXPECT_THAT(succeed({"neighbours", "--checkpoint", "chat", "#2"}).out, HasSubstr("<|im_start|>"));
  EXPECT_THAT(succeed({"neighbours", "--checkpoint", "run", "#2"}).out,
              Not(HasSubstr("<|im_start|>")));
  succeed(Arguments{"--resume", "chat", "--steps", "3"});
  succeed(Arguments{"--resume", "chat", "--steps", "4", "--special-tokens", "chatml"});
  expect_one_sentence(
      program(Arguments{"--resume", "run", "--steps", "3", "--special-tokens", "chatml"}),
      "another tokenizer");
  expect_one_sentence(program(tiny("x", 2, {"--special-tokens", "chatml"})), "--special-tokens");
  expect_one_sentence(program(tiny("y", 2, {"--tokenizer", "hub", "--special-tokens", "chatml"})),
                      "--special-tokens");
}

}  // namespace
}  // namespace cllm::cli
