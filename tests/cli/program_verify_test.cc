#include "program_fixture.h"

namespace cllm::cli {
namespace {

using testing::HasSubstr;
using testing::MatchesRegex;

class VerifyTest : public ProgramTest {
 protected:
  void flip_a_bit(const std::string& name, std::size_t at) const {
    std::string bytes = read(name);
    ASSERT_LT(at, bytes.size());
    bytes[at] = static_cast<char>(bytes[at] ^ 4);
    write(name, bytes);
  }
};

TEST_F(VerifyTest, EveryFileOfARunHasItsLine) {
  write("text.txt", sample_text(300));
  succeed(tiny("run", 4, {"--data", "text.txt", "--checkpoint-every", "2"}));
  succeed({"tokenize", "--data", "text.txt", "--out", "run/text.tokens"});
  const auto lines = lines_of(succeed({"verify", "run"}).out);
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_THAT(lines[0],
              MatchesRegex("whole   run/step-00000002.h5: .* MB, [0-9]+ tensors, .* GB/s"));
  EXPECT_THAT(lines[1], MatchesRegex("whole   run/step-00000004.h5: .*"));
  EXPECT_THAT(lines[2], MatchesRegex("whole   run/text.tokens: .* kB, .* tokens, .* GB/s"));
  EXPECT_EQ(lines_of(succeed({"verify", "run/step-00000002.h5"}).out).size(), 1u);
  EXPECT_EQ(lines_of(succeed_on(2, {"verify", "run"}).out).size(), 3u) << "one rank is enough";

  flip_a_bit("run/step-00000002.h5", read("run/step-00000002.h5").size() / 2);
  flip_a_bit("run/text.tokens", 200);
  const ChildResult result = program({"verify", "run"});
  expect_one_sentence(result, "2 of 3 files in run are not whole");
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_EQ(count_lines(result.out, "broken  run/step-00000002.h5"), 1);
  EXPECT_EQ(count_lines(result.out, "whole   run/step-00000004.h5"), 1);
  EXPECT_EQ(count_lines(result.out, "broken  run/text.tokens is corrupt"), 1);
  expect_one_sentence(program_on(2, {"verify", "run"}), "2 of 3 files in run are not whole");

  std::filesystem::resize_file(path("run/step-00000004.h5"), 100'000);
  expect_one_sentence(program({"verify", "run/step-00000004.h5"}), "h5 is not whole");
}

TEST_F(VerifyTest, WhatHoldsNothingIsRefused) {
  std::filesystem::create_directory(path("empty"));
  write("text.txt", sample_text(3));
  expect_one_sentence(program({"verify", "empty"}), "empty holds no checkpoint");
  expect_one_sentence(program({"verify", "nowhere"}), "nowhere is not whole");
  expect_one_sentence(program({"verify", "text.txt"}), "text\\.txt is not whole");
  expect_one_sentence(program({"verify"}), "path is required");
}

TEST_F(VerifyTest, TokensOfOtherProgramsHaveNoDigest) {
  write("train.bin", std::string(2000, '\0'));
  EXPECT_THAT(succeed({"verify", "train.bin"}).out, HasSubstr("tokens, which have no digest"));
  write("train.bin", std::string(2001, '\0'));
  EXPECT_THAT(program({"verify", "train.bin"}).out, HasSubstr("an odd number"));
}

}  // namespace
}  // namespace cllm::cli
