#include <gmock/gmock.h>

#include "program_fixture.h"

namespace cllm::cli {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

/// Several sources, as a user sees them.
class ProgramMixtureTest : public ProgramTest {
 protected:
  ProgramMixtureTest() {
    write("a.txt", sample_text(300));
    std::string upper = sample_text(150);
    for (char& letter : upper) {
      if (letter >= 'a' && letter <= 'z') letter = static_cast<char>(letter - 'a' + 'A');
    }
    write("b.txt", upper);
    write("c.txt", "other words: " + sample_text(90));
  }

  const Arguments weighted_ = {"--data", "a.txt:0.7", "--data", "b.txt:0.3"};
  const Arguments steady_ = {"--schedule", "constant", "--warmup", "0", "--batch", "5"};
};

TEST_F(ProgramMixtureTest, TheSameBitsOnAnyRanksAndThreads) {
  succeed(tiny("one", 12, weighted_ + steady_));
  succeed_on(2, tiny("two", 12, weighted_ + steady_));
  EXPECT_EQ(
      program(tiny("threads", 12, weighted_ + steady_ + Arguments{"--threads", "2"})).exit_code, 0);
  EXPECT_EQ(digests("two"), digests("one"));
  EXPECT_EQ(digests("threads"), digests("one"));
  // Another order of sources, or other weights, is another run.
  const Arguments other = {"--data", "a.txt:0.3", "--data", "b.txt:0.7"};
  succeed(tiny("other", 12, other + steady_));
  EXPECT_NE(digests("other"), digests("one"));
}

TEST_F(ProgramMixtureTest, EachSourceIsEvaluatedAndAllByTheirShares) {
  EXPECT_THAT(succeed(tiny("run", 4, weighted_ + Arguments{"--eval-every", "2"})).out,
              AllOf(HasSubstr("70 % of the sequences"), HasSubstr("30 % of the sequences"),
                    HasSubstr("b.txt: validation loss")));
  const auto lines = metrics("run", "val_loss");
  ASSERT_EQ(lines.size(), 2u);
  for (const auto& line : lines) {
    const auto& sources = line.at("sources");
    ASSERT_EQ(sources.size(), 2u);
    EXPECT_THAT(sources[1].at("data").get<std::string>(), testing::EndsWith("/b.txt"));
    EXPECT_NEAR(line.at("val_loss").get<double>(),
                0.7 * sources[0].at("val_loss").get<double>() +
                    0.3 * sources[1].at("val_loss").get<double>(),
                1e-9);
  }
  // One text of its own validates for all.
  succeed(tiny("own", 2, weighted_ + Arguments{"--validation-data", "c.txt"}));
  EXPECT_FALSE(metrics("own", "val_loss").back().contains("sources"));
}

TEST_F(ProgramMixtureTest, AResumedRunIsAsIfItHadNeverStopped) {
  succeed(tiny("straight", 8, weighted_ + steady_));
  succeed(tiny("stopped", 4, weighted_ + steady_));
  EXPECT_THAT(succeed_on(2, {"--resume", "stopped", "--steps", "8"}).out,
              Not(HasSubstr("of the sequences from now on")));
  EXPECT_EQ(digests("stopped"), digests("straight"));
  EXPECT_THAT(read("stopped/config.toml"), HasSubstr("a.txt:0.7\", \""));
}

TEST_F(ProgramMixtureTest, SourcesAndWeightsMayChangeOnResumingAndThatIsSaid) {
  succeed(tiny("run", 4, weighted_ + steady_));
  const Arguments more = {"--resume", "run", "--steps"};
  const Arguments changed = {"--data", "b.txt:1", "--data", "c.txt:1"};
  // Of 20 sequences b had 6.
  EXPECT_THAT(
      succeed(more + Arguments{"8"} + changed).out,
      AllOf(HasSubstr("b.txt is 50 % of the sequences from now on, and goes on behind the 6"),
            HasSubstr("c.txt is 50 % of the sequences from now on, and begins")));
  // It goes on so without another word.
  EXPECT_THAT(succeed(more + Arguments{"12"}).out, Not(HasSubstr("from now on")));
  // And in one go, on other ranks: the same bits.
  succeed(tiny("again", 4, weighted_ + steady_));
  succeed_on(2, Arguments{"--resume", "again", "--steps", "12"} + changed);
  EXPECT_EQ(digests("again"), digests("run"));
  // Back to one source.
  EXPECT_THAT(succeed(more + Arguments{"13", "--data", "b.txt"}).out,
              HasSubstr("b.txt is 100 % of the sequences from now on, and goes on behind the 26"));
}

TEST_F(ProgramMixtureTest, ARunOfOneSourceMayGetAnother) {
  succeed(tiny("run", 4, Arguments{"--data", "a.txt"} + steady_));
  EXPECT_THAT(
      succeed({"--resume", "run", "--steps", "6", "--data", "a.txt:1", "--data", "b.txt:3"}).out,
      HasSubstr("a.txt is 25 % of the sequences from now on, and goes on behind the 20"));
}

TEST_F(ProgramMixtureTest, ATokenEmbeddingStartsFromAllSources) {
  const Arguments start = {"--tokenizer", "bpe:340", "--embedding-init", "corpus"};
  succeed(tiny("one", 2, weighted_ + steady_ + start));
  succeed_on(2, tiny("two", 2, weighted_ + steady_ + start));
  EXPECT_EQ(digests("two"), digests("one"));
}

TEST_F(ProgramMixtureTest, RefusesWhatMakesNoMixture) {
  expect_one_sentence(program(tiny("run", 2, {"--data", "a.txt:0.7", "--data", "b.txt"})),
                      "some sources have a weight");
  expect_one_sentence(program(tiny("run", 2, {"--data", "a.txt:0", "--data", "b.txt:1"})),
                      "--data a.txt:0: give a weight above 0");
  expect_one_sentence(program(tiny("run", 2, {"--data", "a.txt", "--data", "absent.txt"})),
                      "absent.txt");
}

}  // namespace
}  // namespace cllm::cli
