#include "program_fixture.h"

namespace cllm::cli {
namespace {

using testing::HasSubstr;

/// A model of a few steps, because matrices that start at 0 are to have values, and text to
/// calibrate with.
class CompressTest : public ProgramTest {
 protected:
  void SetUp() override {
    write("text.txt", sample_text(400));
    succeed(tiny("run", 20, {"--data", "text.txt"}));
  }

  Arguments compress(const std::string& out, const Arguments& more = {}) const {
    return Arguments{"compress", "--checkpoint",          "run", "--calibrate", "text.txt", "--out",
                     out,        "--calibrate-sequences", "16"} +
           more;
  }

  /// What `eval` says of a model, without its name and in one line.
  std::string loss_of(const std::string& model) const {
    return lines_of(
        succeed({"eval", "--checkpoint", model, "--data", "text.txt", "--threads", "1"}).out)[2];
  }
};

TEST_F(CompressTest, WhatComesOutIsAModelLikeOthers) {
  const std::string out = succeed(compress("small.h5")).out;
  EXPECT_THAT(out, HasSubstr("h.1.mlp.c_proj.weight"));
  EXPECT_THAT(out, HasSubstr("of the float32 parameters"));
  EXPECT_THAT(succeed({"verify", "small.h5"}).out, HasSubstr("whole   small.h5"));
  const std::string told = succeed({"inspect", "small.h5", "--tensors"}).out;
  EXPECT_THAT(told, HasSubstr("compressed  from step-00000020.h5 to 4 bits per weight"));
  EXPECT_THAT(told, HasSubstr("/codes/wte.weight"));
  EXPECT_THAT(told, HasSubstr("whole       every tensor agrees with its digest"));
  succeed({"sample", "--checkpoint", "small.h5", "--tokens", "5"});
  succeed(tiny("again", 1, {"--data", "text.txt", "--init-from", "small.h5"}));
}

/// Eight bits change the loss only in digits far behind: 5.41 and 5.41.
TEST_F(CompressTest, ManyBitsGiveTheSameLoss) {
  succeed(compress("large.h5", {"--bits", "8"}));
  EXPECT_EQ(loss_of("large.h5").substr(0, 19), loss_of("run").substr(0, 19));
}

TEST_F(CompressTest, EveryMethodGivesAWholeFile) {
  for (const char* method : {"rounding", "babai", "lll"}) {
    const std::string name = std::string(method) + ".h5";
    const std::string out = succeed(compress(name, {"--method", method, "--spacing", "equal"})).out;
    EXPECT_EQ(out.find("bytes of certificates") != std::string::npos, method == std::string("lll"));
    EXPECT_THAT(succeed({"verify", name}).out, HasSubstr("whole"));
  }
}

TEST_F(CompressTest, ShortTextIsWarnedOf) {
  write("short.txt", "only a few words");
  const ChildResult result =
      program({"compress", "--checkpoint", "run", "--out", "a.h5", "--calibrate", "short.txt"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.err, HasSubstr("warning: 16 positions of short.txt"));
  EXPECT_EQ(program(compress("b.h5")).err, "");
}

TEST_F(CompressTest, ThreadsAndRanksChangeNothing) {
  succeed_on(2, compress("two.h5"));
  succeed(compress("one.h5", {"--threads", "1"}));
  EXPECT_EQ(read("two.h5"), read("one.h5"));
}

TEST_F(CompressTest, WhatCannotBeIsRefused) {
  expect_one_sentence(program(compress("a.h5", {"--bits", "0.5"})), "--bits 0.5");
  expect_one_sentence(program(compress("a.h5", {"--bits", "nan"})), "--bits nan");
  expect_one_sentence(program(compress("a.h5", {"--method", "magic"})), "--method magic");
  expect_one_sentence(program(compress("a.h5", {"--spacing", "odd"})), "--spacing odd");
  expect_one_sentence(program(compress("text.txt")), "text.txt exists already");
  expect_one_sentence(program(compress("nowhere/a.h5")), "--out nowhere/a.h5: cannot write into");
  write("one.txt", "a");
  expect_one_sentence(
      program({"compress", "--checkpoint", "run", "--out", "a.h5", "--calibrate", "one.txt"}),
      "one.txt has 1 token,");
  expect_one_sentence(program({"compress", "--checkpoint", "run", "--out", "a.h5"}),
                      "--calibrate is required");
  expect_one_sentence(
      program({"compress", "--checkpoint", "run", "--out", "a.h5", "--calibrate", "nothing.txt"}),
      "nothing.txt");
  EXPECT_FALSE(std::filesystem::exists(path("a.h5")));

  succeed(compress("a.h5"));
  expect_one_sentence(
      program({"compress", "--checkpoint", "a.h5", "--calibrate", "text.txt", "--out", "b.h5"}),
      "a.h5 is compressed already");
  expect_one_sentence(program(tiny("more", 4, {"--data", "text.txt", "--resume", "a.h5"})),
                      "a.h5 is a compressed model, which a run can't be resumed from");
  std::string spoiled = read("a.h5");
  spoiled[spoiled.size() / 2] = static_cast<char>(spoiled[spoiled.size() / 2] ^ 1);
  write("a.h5", spoiled);
  expect_one_sentence(program({"verify", "a.h5"}), "a.h5 is not whole");
  expect_one_sentence(program({"sample", "--checkpoint", "a.h5"}), "a.h5 is damaged");
}

}  // namespace
}  // namespace cllm::cli
