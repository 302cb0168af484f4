// Token embeddings that are factorised and start from the corpus, as a user sees them.
#include <filesystem>

#include "program_fixture.h"

namespace cllm::cli {
namespace {

using testing::HasSubstr;
using testing::Not;

class EmbeddingTest : public ProgramTest {
 protected:
  const Arguments corpus_ = {"--embedding-init", "corpus"};
  const Arguments factorised_ =
      corpus_ + Arguments{"--embedding-rank", "16", "--batch", "6", "--micro-batch", "1"};

  /// After a run that nothing interrupted.
  std::vector<std::string> undisturbed(int steps) {
    if (!std::filesystem::exists(path("whole"))) succeed(tiny("whole", steps, factorised_));
    return digests("whole");
  }
};

TEST_F(EmbeddingTest, StartsFromTheCorpusWithTheSameBitsOnAnyRanks) {
  const std::vector<std::string> alone = undisturbed(12);
  EXPECT_THAT(alone, testing::Contains(testing::StartsWith("/params/wte.codes ")));
  for (const auto& [ranks, out] : {std::pair{2, "two"}, {3, "three"}}) {
    std::filesystem::remove_all(path("token-cache"));
    succeed_on(ranks, tiny(out, 12, factorised_));
    EXPECT_EQ(digests(out), alone) << ranks;
  }
}

TEST_F(EmbeddingTest, ALaterRunReadsWhatTheCorpusSaid) {
  EXPECT_THAT(succeed(tiny("first", 2, factorised_)).out, Not(HasSubstr("(from the cache)")));
  EXPECT_THAT(succeed(tiny("second", 2, factorised_)).out, HasSubstr("(from the cache)"));
  EXPECT_EQ(digests("second"), digests("first"));
}

TEST_F(EmbeddingTest, GoesOnToTheSameBitsAndKeepsItsLattice) {
  const std::vector<std::string> whole = undisturbed(12);
  succeed(tiny("run", 5, factorised_));
  succeed_on(2, {"--resume", "run", "--steps", "12"});
  // The schedule was another one in the first steps; but for that the two are alike.
  succeed(tiny("again", 5, factorised_));
  succeed({"--resume", "again", "--steps", "12"});
  EXPECT_EQ(digests("run"), digests("again"));
  for (const char* run : {"whole", "run"}) {
    const std::string text = succeed({"inspect", run}).out;
    EXPECT_THAT(text, HasSubstr("embedding rank 16"));
    EXPECT_THAT(text, HasSubstr("embedding   started from the corpus: 16 dimensions explain "));
    EXPECT_THAT(text, HasSubstr("lattice     proved LLL-reduced (delta 0.99)"));
  }
  EXPECT_EQ(succeed({"sample", "--checkpoint", "run", "--tokens", "9"}).err, "");
  EXPECT_THAT(succeed({"neighbours", "--checkpoint", "run", "e"}).out,
              HasSubstr("by the embedding"));
  succeed(tiny("child", 2, {"--init-from", "run"}));
  EXPECT_THAT(succeed({"inspect", "child"}).out, HasSubstr("lattice     proved"));
}

TEST_F(EmbeddingTest, OtherStartsAreOptions) {
  const std::string orthonormal =
      succeed(tiny("orthonormal", 2, factorised_ + Arguments{"--embedding-basis", "orthonormal"}))
          .out;
  EXPECT_THAT(orthonormal,
              HasSubstr("note    the token embedding starts from the corpus, read in"));
  EXPECT_THAT(succeed({"inspect", "orthonormal"}).out, Not(HasSubstr("lattice  ")));
  const std::string random =
      succeed(tiny("random", 2, {"--embedding-rank", "16", "--embedding-init", "random"})).out;
  EXPECT_THAT(random, Not(HasSubstr("token embedding starts")));
  const std::string dense = succeed(tiny("dense", 2, corpus_)).out;
  EXPECT_THAT(dense, HasSubstr("note    the token embedding starts from the corpus, read in"));
  EXPECT_NE(digests("orthonormal"), digests("random"));
  EXPECT_THAT(succeed(tiny("rare", 2, factorised_ + Arguments{"--rare-tokens", "2000"})).out,
              HasSubstr(" rare tokens start from tokens that share their pieces"));
}

TEST_F(EmbeddingTest, LargeVocabulariesStartFromTheCorpus) {
  const Arguments narrow = {"--channels", "32"};  // and 256 tokens
  const std::string text = succeed(tiny("large", 6, narrow + Arguments{"--batch", "512"})).out;
  EXPECT_THAT(text, HasSubstr(" % of the corpus, read in ")) << "as much as the run has time for";
  EXPECT_EQ(count_lines(text, "note    counting which tokens") +
                count_lines(text, "note    the token embedding starts from"),
            2)
      << "the only lines of it";
  EXPECT_THAT(digests("large"), Not(testing::Contains(testing::StartsWith("/params/wte.codes "))));
  EXPECT_THAT(succeed({"--resume", "large", "--steps", "7"}).out, Not(HasSubstr("embedding")));
  EXPECT_THAT(succeed(tiny("random", 2, narrow + Arguments{"--embedding-init", "random"})).out,
              Not(HasSubstr("token embedding starts")));
  EXPECT_THAT(succeed(tiny("small", 2)).out, Not(HasSubstr("token embedding starts")));
}

/// What a run is too short for is said, and the run goes on from its checkpoint as it began.
TEST_F(EmbeddingTest, ShortRunsStartAtRandomUnlessToldOtherwise) {
  const Arguments narrow = {"--channels", "32", "--batch", "2"};
  const std::string text = succeed(tiny("short", 2, narrow)).out;
  EXPECT_THAT(text, HasSubstr("the token embedding starts from random numbers"));
  EXPECT_THAT(text, Not(HasSubstr("token embedding starts from the corpus")));
  EXPECT_THAT(read("short/config.toml"), HasSubstr("# embedding-init = \"random\""));
  EXPECT_THAT(succeed({"--resume", "short", "--steps", "500"}).out,
              Not(HasSubstr("token embedding starts")));
  EXPECT_THAT(succeed(tiny("told", 2, narrow + corpus_)).out,
              HasSubstr("token embedding starts from"));
}

TEST_F(EmbeddingTest, ASampleOfTheCorpusIsReadAndItsShareSaid) {
  const Arguments sampled = corpus_ + Arguments{"--embedding-sample", "100000"};
  const std::string text = succeed(tiny("alone", 2, sampled)).out;
  EXPECT_THAT(text,
              HasSubstr("within 4 tokens of each other, in 100000 of 3775070 tokens (2.65 %)"));
  EXPECT_THAT(text, HasSubstr("token embedding starts from 2."));
  EXPECT_THAT(text, HasSubstr(" % of the corpus, read in"));
  EXPECT_THAT(read("alone/config.toml"), HasSubstr("\nembedding-sample = 100000\n"));
  std::filesystem::remove_all(path("token-cache"));
  succeed_on(2, tiny("two", 2, sampled));
  EXPECT_EQ(digests("two"), digests("alone"));
  succeed(tiny("whole", 2, corpus_));
  EXPECT_NE(digests("whole"), digests("alone"));
  expect_one_sentence(program({"--resume", "alone", "--steps", "4", "--embedding-sample", "5000"}),
                      "--embedding-sample 5000: the token embedding of");
  expect_one_sentence(program({"--resume", "whole", "--steps", "4", "--embedding-sample", "5000"}),
                      "--embedding-sample 5000: the token embedding of");
  expect_one_sentence(program(tiny("no", 2, {"--embedding-sample", "5000"})),
                      "--embedding-sample 5000: the token embedding doesn't start from the corpus");
  expect_one_sentence(program(tiny("no", 2, corpus_ + Arguments{"--embedding-sample", "0"})),
                      "--embedding-sample 0: give a number of tokens from 1 to 4000000000");
}

TEST_F(EmbeddingTest, FactorisedOnesLearnFasterUnlessToldOtherwise) {
  succeed(tiny("codes", 3, factorised_));
  EXPECT_THAT(read("codes/config.toml"), HasSubstr("\n# embedding-rate = 8\n"));  // 2 * 64 / 16
  succeed(tiny("dense", 3));
  EXPECT_THAT(read("dense/config.toml"), HasSubstr("\n# embedding-rate = 5\n"));
  succeed(tiny("slow", 3, factorised_ + Arguments{"--embedding-rate", "1"}));
  EXPECT_THAT(read("slow/config.toml"), HasSubstr("\nembedding-rate = 1\n"));
  EXPECT_NE(digests("slow"), digests("codes"));
}

/// An option that would do nothing would be believed to have done something.
TEST_F(EmbeddingTest, StartsThatCannotBeAreRefused) {
  succeed(tiny("run", 3, factorised_));
  const auto refused = [&](const Arguments& more, const std::string& text) {
    expect_one_sentence(program(tiny("no", 4, more)), text);
  };
  refused({"--embedding-init", "random", "--rare-tokens", "5"},
          "--rare-tokens 5: the token embedding");
  refused({"--embedding-basis", "orthonormal"},
          "--embedding-basis orthonormal: the token embedding");
  refused({"--embedding-init", "corpus", "--embedding-basis", "orthonormal"}, "embedding is dense");
  for (const Arguments& start : {Arguments{"--embedding-init", "corpus"},
                                 {"--embedding-basis", "orthonormal"},
                                 {"--rare-tokens", "8"}}) {
    refused(Arguments{"--init-from", "run"} + start, "the token embedding is that of");
  }
  for (const auto& [option, other] : {std::pair{"--embedding-init", "random"},
                                      {"--embedding-basis", "orthonormal"},
                                      {"--rare-tokens", "8"}}) {
    expect_one_sentence(program({"--resume", "run", "--steps", "4", option, other}),
                        fmt::format("{} {}: the token embedding of", option, other));
  }
  succeed({"--resume", "run", "--steps", "4", "--embedding-basis", "lattice"});
}

TEST_F(EmbeddingTest, IsCompressedLikeAnyOther) {
  undisturbed(12);
  write("text.txt", sample_text(400));
  succeed({"compress", "--checkpoint", "whole", "--calibrate", "text.txt", "--bits", "4", "--out",
           "small.h5"});
  EXPECT_THAT(succeed({"inspect", "small.h5", "--tensors"}).out, HasSubstr("/codes/wte.basis"));
  EXPECT_EQ(succeed({"sample", "--checkpoint", "small.h5", "--tokens", "9"}).err, "");
}

}  // namespace
}  // namespace cllm::cli
