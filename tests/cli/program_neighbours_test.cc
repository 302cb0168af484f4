// What tokens are like, and how well rare and frequent ones are predicted.
#include <regex>

#include "program_fixture.h"

namespace cllm::cli {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using testing::SizeIs;
using testing::StartsWith;

class NeighboursTest : public ProgramTest {
 protected:
  NeighboursTest() {
    write("text.txt", sample_text(2000));
    succeed(tiny("run", 3, {"--data", "text.txt", "--tokenizer", "bpe:330"}));
  }

  ChildResult neighbours(const Arguments& more) const {
    return program(Arguments{"neighbours", "--checkpoint", "run"} + more);
  }
};

TEST_F(NeighboursTest, StandSideBySideForAnIdOrAText) {
  const ChildResult by_id = neighbours({"#300", "--count", "5"});
  ASSERT_EQ(by_id.exit_code, 0) << by_id.err;
  const std::vector<std::string> lines = lines_of(by_id.out);
  ASSERT_THAT(lines, SizeIs(3 + 5));
  EXPECT_THAT(lines[0], StartsWith("neighbours of "));
  EXPECT_THAT(lines[0], HasSubstr("(#300)"));
  EXPECT_THAT(lines[1], AllOf(StartsWith("by the embedding"), HasSubstr("by spelling (primes)")));
  // Cosines fall on the left and similarities on the right; a token is not its own neighbour.
  const std::regex row(" *(\\S+) +\\S+  .* \\(#\\d+\\) +(\\S+) +(\\S+)  .* \\(#\\d+\\)");
  double cosine = 1, similarity = 1;
  for (std::size_t i = 3; i < lines.size(); ++i) {
    std::smatch found;
    ASSERT_TRUE(std::regex_match(lines[i], found, row)) << lines[i];
    EXPECT_LE(std::stod(found[1]), cosine);
    EXPECT_LE(std::stod(found[3]), similarity);
    cosine = std::stod(found[1]);
    similarity = std::stod(found[3]);
    EXPECT_THAT(lines[i], Not(HasSubstr("(#300)")));
  }
  EXPECT_GT(similarity, 0);

  const ChildResult by_text = neighbours({"e"});
  ASSERT_EQ(by_text.exit_code, 0) << by_text.err;
  std::smatch id;
  ASSERT_TRUE(std::regex_search(by_text.out, id, std::regex("^neighbours of e \\((#\\d+)\\)")));
  EXPECT_EQ(neighbours({id[1].str()}).out, by_text.out);
  // A newline is printed as what stands for it.
  EXPECT_THAT(neighbours({"\n"}).out, StartsWith("neighbours of <0x0A> (#"));
  // All that there are, where more are asked for.
  const auto all = lines_of(neighbours({"e", "--count", "100000"}).out);
  EXPECT_THAT(all, SizeIs(3 + 330 - 1));
}

TEST_F(NeighboursTest, AreRefusedForWhatIsNotOneToken) {
  const auto refused = [&](const Arguments& arguments, const std::string& regex) {
    expect_one_sentence(neighbours(arguments), regex);
  };
  refused({}, "token is required");
  refused({""}, "token: give a value \\(");
  refused({"qzqz"}, "TOKEN \"qzqz\" is \\d tokens: .* \\(#\\d+\\), .*; give one of them, as #ID");
  refused({"#330"}, "TOKEN #330: there is no such token; give #0 to #329");
  refused({"#99999999999"}, "TOKEN \"#99999999999\" is");
  refused({"e", "--count", "0"}, "--count 0: give at least 1");
  expect_one_sentence(program_on(2, {"neighbours", "--checkpoint", "run", "#330"}), "TOKEN #330");
}

TEST_F(NeighboursTest, RareAndFrequentTokensAreEvaluatedApart) {
  write("counts.txt", sample_text(60));
  const Arguments eval = {"eval", "--checkpoint", "run", "--data", "text.txt", "--eval-sequences",
                          "30",   "--threads",    "1"};
  const std::string plain = succeed(eval).out;
  const std::string out = succeed(eval + Arguments{"--by-frequency", "counts.txt"}).out;
  EXPECT_THAT(out, StartsWith(plain));
  const auto number = [](const std::string& text) { return std::stod(text); };
  std::smatch whole;
  ASSERT_TRUE(std::regex_search(plain, whole, std::regex("tokens +(\\d+)\nloss +(\\S+)")));
  const std::regex row("(never|[0-9]+(-[0-9]+| and more)?) +([0-9]+) +([0-9]+) +([0-9.]+)");
  double different = 0, tokens = 0, losses = 0;
  const std::vector<std::string> lines = lines_of(out.substr(plain.size()));
  ASSERT_GT(lines.size(), 5u);
  EXPECT_EQ(lines[1], "by how often a token is in counts.txt");
  for (std::size_t i = 3; i < lines.size(); ++i) {
    std::smatch found;
    ASSERT_TRUE(std::regex_match(lines[i], found, row)) << lines[i];
    different += number(found[3]);
    tokens += number(found[4]);
    losses += number(found[4]) * number(found[5]);
  }
  EXPECT_LE(different, 330);
  EXPECT_EQ(tokens, number(whole[1]));
  // As printed, with six digits.
  EXPECT_NEAR(losses / tokens, number(whole[2]), 1e-6);
  expect_one_sentence(program(eval + Arguments{"--by-frequency", "nowhere.txt"}),
                      "nowhere\\.txt: No such file");
  EXPECT_EQ(succeed_on(2, eval + Arguments{"--by-frequency", "counts.txt"}).out, out);
}

}  // namespace
}  // namespace cllm::cli
