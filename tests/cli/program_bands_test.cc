// Token embeddings with bands of frequency, as a user sees them.
#include <filesystem>

#include "program_fixture.h"

namespace cllm::cli {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

class BandsTest : public ProgramTest {
 protected:
  static Arguments bands(const std::string& which) { return {"--embedding-bands", which}; }
  const Arguments few_ =
      bands("10:64,15:20,rest:7") + Arguments{"--batch", "6", "--micro-batch", "1"};
  const Arguments corpus_ = {"--embedding-init", "corpus"};

  /// The lines of a table without their last column.
  static std::string without_losses(const std::string& table) {
    std::string result;
    for (const std::string& line : lines_of(table)) {
      result += line.substr(0, line.find_last_of(' ')) + "\n";
    }
    return result;
  }
};

TEST_F(BandsTest, GiveTheSameBitsOnAnyRanksThreadsAndTeams) {
  for (const char* tied : {"on", "off"}) {
    const Arguments options = few_ + corpus_ + Arguments{"--tied", tied};
    const std::string text = succeed(tiny("alone", 10, options)).out;
    EXPECT_THAT(text, HasSubstr("embedding 10 x 64 + 15 x 20 + 231 x 7, "));
    EXPECT_THAT(text, HasSubstr(" % of the parameters of a dense one gone"));
    const std::vector<std::string> alone = digests("alone");
    EXPECT_THAT(alone, Contains(StartsWith("/params/wte.0.weight ")));
    EXPECT_THAT(alone, Contains(StartsWith("/params/wte.2.basis ")));
    const bool has_head = tied == std::string("off");
    EXPECT_EQ(testing::Value(alone, Contains(StartsWith("/params/lm_head.2.codes "))), has_head);
    std::filesystem::remove_all(path("token-cache"));
    succeed_on(2, tiny("two", 10, options));
    EXPECT_EQ(digests("two"), alone);
    succeed(tiny("team", 10, options + Arguments{"--threads", "2", "--team", "2"}));
    EXPECT_EQ(digests("team"), alone);
    // In two pieces, the second on other ranks; the schedule is that of the whole.
    succeed(tiny("pieces", 10, options + Arguments{"--checkpoint-every", "4"}));
    std::filesystem::remove(path("pieces/step-00000010.h5"));
    std::filesystem::remove(path("pieces/step-00000008.h5"));
    succeed_on(2, {"--resume", "pieces/step-00000004.h5"});
    EXPECT_EQ(digests("pieces"), alone);
    for (const char* run : {"alone", "two", "team", "pieces"}) {
      std::filesystem::remove_all(path(run));
    }
  }
}

TEST_F(BandsTest, ACheckpointIsReadByAllThatReadsCheckpoints) {
  succeed(tiny("run", 30, few_ + corpus_ + Arguments{"--family", "llama", "--lr", "0.003"}));
  const std::string text = succeed({"inspect", "run"}).out;
  EXPECT_THAT(text, HasSubstr("embedding bands 10:64,15:20,231:7"));
  EXPECT_THAT(text, HasSubstr("embedding   started from the corpus: 64 dimensions explain "));
  EXPECT_THAT(text, HasSubstr("lattice     band 1: proved LLL-reduced (delta 0.99)"));
  EXPECT_THAT(text, HasSubstr("lattice     band 2: proved LLL-reduced (delta 0.99)"));
  EXPECT_THAT(succeed({"neighbours", "--checkpoint", "run", "e"}).out,
              HasSubstr("by the embedding"));

  // What it says of a text doesn't depend on who says it: the run's own evaluation, eval, and the
  // dense model that it is exported to.
  write("text.txt", sample_text(400));
  const auto loss = [&](const std::string& model) {
    const std::string out =
        succeed({"eval", "--checkpoint", model, "--data", "text.txt", "--by-frequency", "text.txt"})
            .out;
    EXPECT_THAT(out, HasSubstr("by how often a token is in text.txt"));
    const std::size_t at = out.find("loss ");
    return std::pair(std::stod(out.substr(at + 5)), out.substr(out.find("occurrences")));
  };
  for (const char* format : {"hf", "gguf"}) {
    succeed({"export", "--checkpoint", "run", "--format", format, "--type", "f32", "--out", "out"});
    const auto banded = loss("run"), dense = loss("out");
    EXPECT_NEAR(banded.first, dense.first, 2e-5) << format;
    EXPECT_LT(banded.first, 5.0) << "it has learned";
    // Classes are of tokens, not of rows.
    EXPECT_EQ(without_losses(banded.second), without_losses(dense.second)) << format;
    // As it continues a text.
    const auto sample = [&](const char* model) {
      return succeed({"sample", "--checkpoint", model, "--prompt", "The ", "--tokens", "40",
                      "--temperature", "0"})
          .out;
    };
    EXPECT_EQ(sample("run"), sample("out")) << format;
    std::filesystem::remove_all(path("out"));
  }

  succeed(tiny("child", 2, {"--init-from", "run"}));
  EXPECT_THAT(succeed({"inspect", "child"}).out, HasSubstr("lattice     band 2: proved"));
  EXPECT_LT(values("child", "loss").front(), 5.0) << "its rows are those of its tokens";
  succeed({"compress", "--checkpoint", "run", "--calibrate", "text.txt", "--bits", "8", "--out",
           "small.h5"});
  EXPECT_NEAR(loss("small.h5").first, loss("run").first, 0.02);
}

// A run whose every band has rank C is the dense one with other rows: but for the order in which
// the softmax adds up tokens, all is the same, the first weights too.
TEST_F(BandsTest, OfFullRankTrainAsADenseTableDoes) {
  const Arguments options = corpus_ + Arguments{"--tied", "off", "--reduce", "fp32"};
  succeed(tiny("dense", 20, options));
  succeed(tiny("bands", 20, options + bands("30:64,rest:64")));
  const std::vector<double> dense = values("dense", "loss"), banded = values("bands", "loss");
  ASSERT_EQ(dense.size(), banded.size());
  for (std::size_t step = 0; step < dense.size(); ++step) {
    EXPECT_NEAR(banded[step], dense[step], 1e-5 * dense[step]) << step;
  }
}

TEST_F(BandsTest, LearnAtTheRateOfADenseTable) {
  succeed(tiny("untied", 3, few_));
  EXPECT_THAT(read("untied/config.toml"), HasSubstr("\n# embedding-rate = 5\n"));
  EXPECT_THAT(read("untied/config.toml"),
              HasSubstr("\nembedding-bands = \"10:64,15:20,rest:7\"\n"));
  succeed(tiny("tied", 3, few_ + Arguments{"--tied", "on"}));
  EXPECT_THAT(read("tied/config.toml"), HasSubstr("\n# embedding-rate = 1\n"));
}

TEST_F(BandsTest, AreRightInTheBudgetOfMemory) { expect_right_budget(few_); }

TEST_F(BandsTest, WhatCannotBeIsRefused) {
  const auto refused = [&](const Arguments& more, const std::string& text) {
    expect_one_sentence(program(tiny("no", 4, more)), text);
  };
  refused(bands("auto"), "--embedding-bands auto: a vocabulary of 256 tokens is too small");
  refused(bands("50:64,rest"), "--embedding-bands");
  refused(bands("50:65,rest:2"),
          "--embedding-bands 50:65,rest:2: give each band a rank from 1 to the 64 of --channels");
  refused(bands("250:64,7:2"), "the vocabulary has 256 tokens");
  refused(bands("50:64,rest:2") + Arguments{"--embedding-rank", "8"},
          "--embedding-bands 50:64,rest:2 and --embedding-rank 8: each says");
  succeed(tiny("run", 3, few_));
  expect_one_sentence(
      program({"--resume", "run", "--steps", "4", "--embedding-bands", "60:64,rest:7"}),
      "but the options ask for");
  expect_one_sentence(program({"--resume", "run", "--steps", "4", "--embedding-bands", "none"}),
                      "but the options ask for");
  EXPECT_THAT(succeed({"--resume", "run", "--steps", "4"}).out,
              Not(HasSubstr("changed --embedding")));
}

}  // namespace
}  // namespace cllm::cli
