#include <signal.h>
#include <sysexits.h>

#include "program_fixture.h"

namespace cllm::cli {
namespace {

using support::ChildProcess;
using testing::Contains;
using testing::HasSubstr;
using testing::Not;

/// What people do at a terminal while a run goes on there, or a pipe.
class TerminalTest : public ProgramTest {
 protected:
  static constexpr int kEndless = 1'000'000;

  std::string out() const { return path("run").string(); }

  /// The program, as a shell starts it that has the terminal of `script`. It leaves its exit code.
  ChildProcess start_on_terminal() const {
    std::string line = "trap : INT; '";
    for (const std::string& word : Arguments{CLLM_PROGRAM} + tiny(out(), kEndless)) {
      line += word + "' '";
    }
    return start({"script", "-qfec", line + "--eval-every' 1000000; echo $? > code", "/dev/null"});
  }

  pid_t wait_for_steps() const {
    EXPECT_TRUE(wait_until([&] { return has_steps(); }, kPatience)) << "takes no step";
    const auto ranks = ranks_with(out());
    return ranks.empty() ? 0 : ranks.front().second;
  }

  bool has_steps() const {
    return std::filesystem::exists(path("run/metrics.jsonl")) &&
           read("run/metrics.jsonl").find("\"loss\"") != std::string::npos;
  }

  void expect_saved() const {
    EXPECT_TRUE(wait_until([&] { return ranks_with(out()).empty(); }, kPatience)) << "goes on";
    EXPECT_THAT(files_in("run"), Contains("latest"));
    EXPECT_THAT(files_in("run"), Not(Contains("complete")));
    EXPECT_THAT(succeed({"verify", "run"}).out, HasSubstr("whole"));
  }
};

TEST_F(TerminalTest, CtrlCSavesAndSaysWhatASecondDoes) {
  ChildProcess terminal = start_on_terminal();
  const pid_t program = wait_for_steps();
  ::kill(program, SIGINT);
  const ChildResult result = wait(terminal);
  EXPECT_THAT(result.out, HasSubstr("stops and saves after this step; Ctrl-C again ends it"));
  EXPECT_THAT(result.out, HasSubstr("saved: a signal asked for it"));
  EXPECT_EQ(read("code"), std::to_string(EX_TEMPFAIL) + "\n");
  expect_saved();
}

TEST_F(TerminalTest, AClosedTerminalSaves) {
  ChildProcess terminal = start_on_terminal();
  wait_for_steps();
  terminal.signal(SIGKILL);
  expect_saved();
}

TEST_F(TerminalTest, ARunGoesOnWhereNobodyReadsItsOutput) {
  const Arguments head = {"sh", "-c", "{ \"$@\"; echo $? > code; } | head -n 1", "sh"};
  const ChildResult result = run(head + Arguments{CLLM_PROGRAM} + tiny(out(), 20));
  EXPECT_EQ(lines_of(result.out).size(), 1u);
  EXPECT_EQ(count_lines(result.err, "cllm-dist: nobody reads the output any more"), 1)
      << result.err;
  EXPECT_EQ(read("code"), "0\n");
  EXPECT_EQ(read("run/complete"), "20 steps\n");

  // A file is as good as a run.
  write("text.txt", sample_text(3000));
  run(head + Arguments{CLLM_PROGRAM, "tokenize", "--data", "text.txt"} +
      Arguments{"--tokenizer", "bpe:300", "--out", "text.tokens"});
  EXPECT_THAT(succeed({"verify", "text.tokens"}).out, HasSubstr("whole"));
}

TEST_F(TerminalTest, ARunGoesOnWhereNobodyReadsTheLaunchersOutput) {
  if (run({CLLM_MPIEXEC, "--version"}).out.find("open-mpi") == std::string::npos) {
    GTEST_SKIP() << "another launcher may end by it";
  }
  const Arguments head = {"sh", "-c", "\"$@\" | head -n 1", "sh"};
  run(head + command_for(2, tiny(out(), 20)));
  EXPECT_EQ(read("run/complete"), "20 steps\n");
}

}  // namespace
}  // namespace cllm::cli
