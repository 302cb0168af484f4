#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <utility>

#include "cllm/base/error.h"
#include "cllm/base/interrupt.h"
#include "cllm/base/line_reader.h"
#include "cllm/base/output.h"
#include "cllm/cli/commands/commands.h"
#include "cllm/cli/run/checkpoints.h"
#include "cllm/cli/run/conversation.h"
#include "cllm/ranks/agreement.h"

namespace cllm::cli {
namespace {

void note(std::string_view text) { put(stderr, fmt::format("note: {}\n", text)); }

void write(std::string_view text) {
  put(stdout, text);
  if (std::ferror(stdout) != 0) fail("cannot write to standard output");
}

/// A conversation with a model: answers to standard output, everything else to standard error.
class Chat {
 public:
  explicit Chat(const ChatSettings& settings)
      : settings_(settings),
        loaded_(settings.checkpoint),
        form_(loaded_.require_tokenizer()),
        conversation_(form_, settings.system, loaded_.run.model.context),
        threads_(sampling_threads(settings.threads)),
        generator_(loaded_.model, loaded_.parameters.span(), &threads_, loaded_.run.token_rows),
        random_(settings.seed, 0) {
    const auto lost = form_.tokenizer().encode_counting(settings.system).lost_bytes;
    if (lost > 0) note("--system: " + data::lost_text(lost, settings.system.size()));
    if (!form_.is_chatml()) {
      note(
          "the tokenizer has no <|im_start|> and <|im_end|>: the conversation is written as lines "
          "\"User: …\" and \"Assistant: …\"");
    }
  }

  /// Speaks until the input ends, or /quit.
  void run() {
    const bool is_terminal = ::isatty(STDIN_FILENO) != 0;
    if (is_terminal) {
      note("Ctrl-C stops an answer, /reset forgets what was said, /quit or Ctrl-D ends");
    }
    LineReader input(STDIN_FILENO);
    std::string line;
    while (true) {
      if (is_terminal) write("> ");
      const LineReader::Result result = input.next(line);
      if (result == LineReader::Result::kInterrupted) {
        if (is_terminal) write("\n");  // the terminal has dropped what was typed
        continue;
      }
      if (result == LineReader::Result::kEnd || line == "/quit") break;
      if (line == "/reset") {
        conversation_.reset();
        note("all that was said is forgotten");
      } else if (!line.empty()) {
        reply(line);
      }
    }
    if (is_terminal) write("\n");
  }

 private:
  void reply(const std::string& question) {
    try {
      conversation_.ask(question);
    } catch (const Error& error) {
      return note(error.what());
    }
    const auto lost = form_.tokenizer().encode_counting(question).lost_bytes;
    if (lost > 0) note(data::lost_text(lost, question.size()));
    interrupt_.clear();
    TextUntil answer(form_.end_text());
    const std::string why = generate(answer);
    show(answer.rest());
    write("\n");
    is_first_ = true;
    conversation_.close(answer.text());
    if (!why.empty()) note(why);
    if (const std::size_t turns = std::exchange(forgotten_, 0); turns > 0) {
      note(fmt::format("the context is full, and the oldest {} forgotten",
                       turns == 1 ? "turn is" : fmt::format("{} turns are", turns)));
    }
  }

  /// Draws an answer, and shows it. Returns why it ended, where it was not the model's doing.
  std::string generate(TextUntil& answer) {
    // A vocabulary may be larger in the model than in the tokenizer: those rows have no text.
    const std::size_t known = form_.tokenizer().vocabulary();
    for (std::uint64_t count = 0; count < settings_.tokens; ++count) {
      if (interrupt_.came()) return "the answer was stopped";
      forgotten_ += conversation_.make_room();
      if (!conversation_.has_room()) return "the answer ends because the context is full";
      // Computes the question, or the token before.
      const auto logits = generator_.advance_to(conversation_.tokens());
      const std::uint32_t token =
          model::sample_token(logits.first(known), settings_.options, random_);
      if (form_.ends_answer(token)) return {};
      conversation_.add(token);
      show(answer.put(form_.tokenizer().token_bytes(token)));
      if (answer.has_ended()) return {};
    }
    return fmt::format("the answer ends after --tokens {}", settings_.tokens);
  }

  /// In the plain form an answer begins with the space behind its name.
  void show(std::string_view text) {
    if (text.empty()) return;
    const bool is_behind_name = std::exchange(is_first_, false) && !form_.is_chatml();
    if (is_behind_name && text.starts_with(' ')) text.remove_prefix(1);
    write(text);
  }

  const ChatSettings& settings_;
  LoadedModel loaded_;
  ChatTemplate form_;
  Conversation conversation_;
  ThreadPool threads_;
  model::Generator generator_;
  RandomStream random_;
  Interrupt interrupt_;
  bool is_first_ = true;       // nothing of the answer is shown
  std::size_t forgotten_ = 0;  // turns, in this one
};

}  // namespace

void declare_chat_options(CLI::App& app, ChatSettings& s) {
  add_option(app, "--checkpoint", s.checkpoint, "checkpoint FILE, or DIR of a run")
      ->type_name("PATH")
      ->required();
  add_option(app, "--system", s.system, "what the model is told before the conversation")
      ->type_name("TEXT");
  add_option(app, "--tokens", s.tokens, "most tokens of an answer")
      ->type_name("N")
      ->capture_default_str();
  declare_sampling_options(app, s.options, s.seed, s.threads);
}

void chat_command(const ChatSettings& settings, ranks::ProcessGroup& process_group) {
  ranks::in_agreement(process_group, [&] {
    // Ctrl-C ends a launcher, and its ranks with it.
    if (process_group.size() > 1) fail("chat runs on one rank; start it without a launcher");
    model::validate(settings.options);
    if (settings.tokens == 0) fail("--tokens 0: give at least 1");
    Chat(settings).run();
  });
}

}  // namespace cllm::cli
