// Conversations through a pipe, and at a terminal.
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <memory>

#include "program_fixture.h"

namespace cllm::cli {
namespace {

using support::ChildProcess;
using testing::HasSubstr;
using testing::Not;

class ChatTest : public ProgramTest {
 protected:
  ChatTest() { write("text.txt", sample_text(3000)); }

  void train(const Arguments& more) const {
    succeed(tiny("run", 30, Arguments{"--data", "text.txt"} + more));
  }
  static Arguments chat(const Arguments& more = {}) {
    return Arguments{"chat", "--checkpoint", "run", "--temperature", "0"} + more;
  }
  /// A conversation whose messages are the lines of `input`.
  ChildResult say(const std::string& input, const Arguments& more = {}) const {
    write("input.txt", input);
    return run(Arguments{"sh", "-c", "exec \"$@\" < input.txt", "sh", CLLM_PROGRAM} + chat(more));
  }
  /// The likeliest continuation of a text, of so many tokens, up to where a user would speak.
  std::string continued(const std::string& text, int tokens) const {
    const std::string whole = succeed({"sample", "--checkpoint", "run", "--temperature", "0",
                                       "--prompt", text, "--tokens", std::to_string(tokens)})
                                  .out;
    EXPECT_TRUE(whole.starts_with(text));
    const std::string answer = whole.substr(text.size(), whole.size() - text.size() - 1);
    return answer.substr(0, answer.find("\nUser:"));
  }
};

/// As it is shown.
std::string without_space(const std::string& answer) {
  return answer.starts_with(' ') ? answer.substr(1) : answer;
}

TEST_F(ChatTest, AnswersAreWhatSamplingGivesForTheWholeConversation) {
  train({"--context", "300"});
  const std::string first = "System: Speak.\nUser: the river\nAssistant:";
  const std::string a = continued(first, 12);
  const std::string second = first + a + "\nUser: number\nAssistant:";
  const std::string b = continued(second, 12);
  const std::string fresh = continued("System: Speak.\nUser: number\nAssistant:", 12);
  const ChildResult result = say("the river\nnumber\n/reset\n\nnumber\n/quit\nno more\n",
                                 {"--system", "Speak.", "--tokens", "12"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.out,
            without_space(a) + "\n" + without_space(b) + "\n" + without_space(fresh) + "\n");
  EXPECT_EQ(count_lines(result.err, "note: the tokenizer has no <|im_start|>"), 1) << result.err;
  EXPECT_EQ(count_lines(result.err, "note: all that was said is forgotten"), 1);
  EXPECT_EQ(count_lines(result.err, "note: the answer ends after --tokens 12"), 3);
}

TEST_F(ChatTest, ForgetsWholeTurnsWhenTheContextIsFull) {
  train({"--context", "100"});
  // A turn is 19 bytes, 8 of an answer and a newline; of the fourth, 103 would be asked.
  std::vector<std::string> turns;
  std::string expected;
  for (int i = 0; i < 4; ++i) {
    std::string text;
    for (std::size_t t = i < 3 ? 0 : 2; t < turns.size(); ++t) text += turns[t];
    const std::string question =
        "User: " + std::string(2, static_cast<char>('a' + i)) + "\nAssistant:";
    const std::string answer = continued(text + question, 8);
    EXPECT_EQ(question.size() + answer.size(), 27u);
    turns.push_back(question + answer + "\n");
    expected += without_space(answer) + "\n";
  }
  const ChildResult result = say("aa\nbb\ncc\ndd\n", {"--tokens", "8"});
  EXPECT_EQ(result.out, expected);
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(count_lines(result.err, "note: the context is full, and the oldest 2 turns are"), 1)
      << result.err;
  // What can't be said leaves all else as it is; an answer may be as long as there is room.
  const ChildResult tight = say(
      "aa\n" + std::string(90, 'x') + "\nbb\n" + std::string(70, 'x') + "\n", {"--tokens", "8"});
  EXPECT_TRUE(tight.out.starts_with(expected.substr(0, expected.find(lines_of(expected)[2]))))
      << tight.out;
  EXPECT_EQ(count_lines(tight.err, "note: the message takes 107 tokens, and the context has room"),
            1)
      << tight.err;
}

TEST_F(ChatTest, SpeaksChatMlWhereTheTokenizerDoes) {
  train({"--tokenizer", "bpe:300", "--special-tokens", "chatml", "--context", "128"});
  const ChildResult result = say("the river\nthe lamp", {"--system", "Be brief.", "--tokens", "9"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.err, Not(HasSubstr("User:")));
  EXPECT_NE(result.out, "");
  // So hot that each token is as likely: an answer ends at one of three of 300.
  std::string questions;
  for (int i = 0; i < 8; ++i) questions += "the river\n";
  const ChildResult hot =
      say(questions, {"--temperature", "1000", "--tokens", "100", "--top-p", "1"});
  EXPECT_LT(count_lines(hot.err, "note: the answer ends"), 8) << hot.err;
  EXPECT_THAT(hot.out, Not(HasSubstr("<|im_")));
}

TEST_F(ChatTest, RefusesWhatItCannotDo) {
  train({"--context", "64"});
  expect_one_sentence(program(chat({"--system", std::string(60, 's')})), "--system: its 69 tokens");
  expect_one_sentence(program(chat({"--tokens", "0"})), "--tokens 0: give at least 1");
  expect_one_sentence(program(chat({"--top-p", "2"})), "--top-p 2");
  expect_one_sentence(program(chat({"--system-prompt", "x"})), "it is called --system here");
  expect_one_sentence(program_on(2, chat()), "chat runs on one rank");
  expect_one_sentence(program({"talk"}), "it is called chat here");
  EXPECT_EQ(program(chat()).exit_code, 0);  // nothing to read
}

/// A conversation that goes on beside the test, through a pipe with a name.
class LiveChatTest : public ChatTest {
 protected:
  void SetUp() override {
    // A model that answers for seconds.
    succeed(tiny("run", 1,
                 {"--data", "text.txt", "--context", "4096", "--batch", "1", "--micro-batch", "1",
                  "--eval-sequences", "1"}));
    ASSERT_EQ(::mkfifo(path("in").c_str(), 0600), 0);
    ::signal(SIGINT, SIG_DFL);  // it may be ignored where tests run in the background
  }
  void TearDown() override {
    if (input_ >= 0) ::close(input_);
  }

  Arguments endless() const { return Arguments{CLLM_PROGRAM} + chat({"--tokens", "1000000"}); }
  void begin(const Arguments& command) {
    // As it can't be moved.
    child_.reset(
        new ChildProcess(start(Arguments{"sh", "-c", "exec \"$@\" < in", "sh"} + command)));
    input_ = ::open(path("in").c_str(), O_WRONLY | O_CLOEXEC);
    ASSERT_GE(input_, 0);
  }
  void type(const std::string& text) const {
    EXPECT_EQ(::write(input_, text.data(), text.size()), std::ssize(text));
  }
  void wait_for_output(std::size_t bytes) const {
    EXPECT_TRUE(wait_until([&] { return child_->out().size() >= bytes; }, kPatience));
  }

  std::unique_ptr<ChildProcess> child_;
  int input_ = -1;
};

TEST_F(LiveChatTest, AnInterruptStopsTheAnswerAndNotTheProgram) {
  begin(endless());
  type("the river\n");
  wait_for_output(20);
  child_->signal(SIGINT);
  // The end of the answer is a line's, or the model writes many; so the next is waited for anew.
  type("the lamp\n");
  wait_for_output(child_->out().size() + 20);
  EXPECT_TRUE(child_->is_running());
  child_->signal(SIGINT);
  type("/quit\n");
  const ChildResult result = wait(*child_);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(count_lines(result.err, "note: the answer was stopped"), 2) << result.err;
}

TEST_F(LiveChatTest, AtATerminalCtrlCStopsAnAnswerAndCtrlDEnds) {
  // In the shell's place: Ctrl-C is for every process of the terminal, and would end the shell.
  std::string line = "exec";
  for (const std::string& word : endless()) line += " '" + word + "'";
  begin({"env", "SHELL=/bin/sh", "script", "-qfec", line, "/dev/null"});
  EXPECT_TRUE(
      wait_until([&] { return child_->out().find("\n> ") != std::string::npos; }, kPatience));
  EXPECT_THAT(child_->out(), HasSubstr("Ctrl-C stops an answer"));
  // What was typed is dropped, and a new line begins.
  const auto asks_again = [&] { return child_->out().find("\n> ") != child_->out().rfind("\n> "); };
  type("half a message\x03");
  EXPECT_TRUE(wait_until(asks_again, kPatience));
  type("the river\n");
  wait_for_output(child_->out().size() + 40);
  type("\x03");
  EXPECT_TRUE(
      wait_until([&] { return child_->out().find("the answer was stopped") != std::string::npos; },
                 kPatience));
  type("\x04");
  const ChildResult result = wait(*child_);
  EXPECT_EQ(result.exit_code, 0) << result.out;
}

}  // namespace
}  // namespace cllm::cli
