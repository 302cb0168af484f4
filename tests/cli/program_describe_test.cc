// What the program says of itself: version, manual pages, completion.
#include <algorithm>
#include <sstream>

#include "program_fixture.h"

namespace cllm::cli {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::Not;

class DescribeTest : public ProgramTest {
 protected:
  /// The words of a text that begin with two dashes, once each.
  static std::vector<std::string> options_in(const std::string& text) {
    std::vector<std::string> found;
    std::istringstream words(text);
    for (std::string word; words >> word;) {
      if (!word.starts_with("--")) continue;
      found.push_back(word.substr(0, word.find_first_of("=,[")));
    }
    std::ranges::sort(found);
    found.erase(std::unique(found.begin(), found.end()), found.end());
    return found;
  }

  /// What bash offers for a command line whose last word is being typed.
  std::vector<std::string> offers(const std::vector<std::string>& words) const {
    std::string line;
    for (const std::string& word : words) line += "'" + word + "' ";
    return lines_of(run({"bash", "-c",
                         "source completion; compopt() { :; }; COMP_WORDS=(" + line +
                             "); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _cllm_dist; "
                             "printf '%s\\n' \"${COMPREPLY[@]}\""})
                        .out);
  }
};

TEST_F(DescribeTest, TheVersionInFullIsWhatABugReportNeeds) {
  const std::string brief = succeed({"--version"}).out;
  const std::string full = succeed({"--version", "--verbose"}).out;
  EXPECT_THAT(full, HasSubstr("cllm-dist " + brief));
  for (const char* label :
       {"compiler ", "MPI ", "BLAS ", "HDF5 ", "kernels ", "products ", "processor ", "system "}) {
    EXPECT_EQ(count_lines(full, label), 1) << label << full;
  }
  EXPECT_THAT(full, testing::ContainsRegex("\nHDF5 +[0-9]+\\.[0-9]+\\.[0-9]+\n"));
  EXPECT_THAT(full, HasSubstr("portable"));
  EXPECT_EQ(succeed({"--verbose", "--version"}).out, full);
}

TEST_F(DescribeTest, NeedsNoMpiThatCanStart) {
  for (const Arguments& what :
       {Arguments{"--version"}, Arguments{"man"}, Arguments{"completion", "bash"}}) {
    const ChildResult result =
        run(Arguments{CLLM_PROGRAM} + what, {{"CLLM_FAIL_POINT", "mpi.starts:1:9"}});
    EXPECT_EQ(result.exit_code, 0) << result.err;
  }
  EXPECT_EQ(run({CLLM_PROGRAM, "--help"}, {{"CLLM_FAIL_POINT", "mpi.starts:1:9"}}).exit_code,
            128 + 9);
}

TEST_F(DescribeTest, AManualPageHasEveryOptionThatHelpHas) {
  succeed({"man", "--into", "pages"});
  EXPECT_GT(files_in("pages").size(), 12u);
  for (const std::string command : {"", "sample", "doctor", "inspect", "completion"}) {
    std::string page = read("pages/cllm-dist" + (command.empty() ? "" : "-" + command) + ".1");
    EXPECT_EQ(succeed(command.empty() ? Arguments{"man"} : Arguments{"man", command}).out, page);
    std::erase(page, '\\');
    const std::string text =
        succeed(command.empty() ? Arguments{"--help"} : Arguments{command, "--help"}).out;
    EXPECT_GE(options_in(text).size(), command.empty() ? 50u : 0u);
    for (const std::string& option : options_in(text)) {
      EXPECT_THAT(page, HasSubstr(option)) << command;
    }
    // What no line of roff may begin with, but for its own commands.
    for (const std::string& line : lines_of(page)) {
      EXPECT_THAT(line, Not(testing::StartsWith("'")));
    }
  }
  if (run({"sh", "-c", "command -v groff"}).exit_code == 0) {
    const ChildResult formatted = run(
        {"sh", "-c", "for page in pages/*.1; do groff -Kutf8 -man -ww -Tutf8 $page >text; done"});
    EXPECT_EQ(formatted.exit_code, 0);
    EXPECT_EQ(formatted.err, "");
  }
  expect_one_sentence(program({"man", "none"}), "man none: there is no such command");
}

TEST_F(DescribeTest, BashCompletesCommandsOptionsAndValues) {
  write("completion", succeed({"completion", "bash"}).out);
  write("data.txt", "");
  EXPECT_THAT(offers({"cllm-dist", "sam"}), testing::ElementsAre("sample"));
  EXPECT_THAT(offers({"cllm-dist", "--target"}), testing::ElementsAre("--target-loss"));
  EXPECT_THAT(offers({"cllm-dist", "--reduce", ""}), testing::ElementsAre("exact", "fp32"));
  EXPECT_THAT(offers({"cllm-dist", "--reduce", "=", "f"}), testing::ElementsAre("fp32"));
  EXPECT_THAT(offers({"cllm-dist", "--reduce", "="}), testing::ElementsAre("exact", "fp32"));
  EXPECT_THAT(offers({"cllm-dist", "sample", "--ch"}), testing::ElementsAre("--checkpoint"));
  EXPECT_THAT(offers({"cllm-dist", "sample", "--"}), Not(Contains("--reduce")));
  EXPECT_THAT(offers({"cllm-dist", "--data", "da"}), testing::ElementsAre("data.txt"));
  EXPECT_THAT(offers({"cllm-dist", "inspect", "da"}), testing::ElementsAre("data.txt"));
  EXPECT_THAT(offers({"cllm-dist", "--steps", ""}), testing::ElementsAre(""));
}

TEST_F(DescribeTest, ZshCanReadItsCompletion) {
  const std::string script = succeed({"completion", "zsh"}).out;
  EXPECT_THAT(script, testing::StartsWith("#compdef cllm-dist\n"));
  EXPECT_THAT(script, HasSubstr("'*--reduce=["));
  EXPECT_THAT(script, HasSubstr("'sample:continue a text with a trained model'"));
  if (run({"sh", "-c", "command -v zsh"}).exit_code != 0) GTEST_SKIP() << "zsh is not installed";
  write("_cllm-dist", script);
  const ChildResult parsed = run({"zsh", "-n", "_cllm-dist"});
  EXPECT_EQ(parsed.exit_code, 0) << parsed.err;
  EXPECT_EQ(parsed.err, "");
}

}  // namespace
}  // namespace cllm::cli
