#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cllm/data/tokenizer.h"

namespace cllm::cli {

/// How a conversation is written as tokens: in ChatML, where the tokenizer has its markers,
///
///     <|im_start|>system\nTEXT<|im_end|>\n
///     <|im_start|>user\nTEXT<|im_end|>\n<|im_start|>assistant\nTEXT<|im_end|>\n
///
/// else in a plain form, as lines `System: TEXT`, `User: TEXT` and `Assistant: TEXT`. What people
/// and models write never becomes a special token. The tokenizer must outlive it.
class ChatTemplate {
 public:
  using Tokens = std::vector<std::uint32_t>;

  explicit ChatTemplate(const data::Tokenizer& tokenizer);

  bool is_chatml() const { return start_.has_value(); }
  const data::Tokenizer& tokenizer() const { return *tokenizer_; }

  Tokens system_message(std::string_view text) const;
  /// A question, and the opening of its answer.
  Tokens question(std::string_view text) const;
  /// An answer's tokens, of which `text` is what counts, and the end of its turn.
  Tokens answer(Tokens tokens, std::string_view text) const;

  /// Whether a token ends an answer: the end of text, or a marker of ChatML.
  bool ends_answer(std::uint32_t token) const;
  /// The text that ends an answer; none in ChatML.
  std::string_view end_text() const { return is_chatml() ? "" : "\nUser:"; }

 private:
  Tokens message(std::string_view role, std::string_view text) const;

  const data::Tokenizer* tokenizer_;
  std::optional<std::uint32_t> start_, end_;  // <|im_start|>, <|im_end|>
};

/// What was said, as the tokens that a model goes on from: the system's message, which always
/// stays, and turns, each a question and its answer. Not thread-safe.
class Conversation {
 public:
  using Tokens = ChatTemplate::Tokens;

  /// `context`: tokens that the model has room for. Throws Error where `system` leaves no room.
  Conversation(const ChatTemplate& form, std::string_view system, std::size_t context);

  /// Begins a turn. Throws Error, and is as before, where the question leaves no room for an
  /// answer, whatever is forgotten.
  void ask(std::string_view question);
  /// Adds to the answer, whose end is open.
  void add(std::uint32_t token) { turns_.back().push_back(token); }
  /// Ends the turn: of the answer, `text` counts.
  void close(std::string_view text);

  /// Where all of the context is used, forgets the oldest turns, whole, until at most half is, but
  /// never the last; returns how many. Half, so that what is left is seldom computed again.
  std::size_t make_room();
  /// Whether another token may be added.
  bool has_room() const { return size() < context_; }

  std::size_t size() const;
  Tokens tokens() const;
  /// Forgets all turns.
  void reset() { turns_.clear(); }

 private:
  const ChatTemplate* form_;
  std::size_t context_;
  Tokens system_;
  std::deque<Tokens> turns_;
  std::size_t question_size_ = 0;  // of the last turn
};

/// Passes on a text that comes in pieces, up to where `end` begins in it. Not thread-safe.
class TextUntil {
 public:
  /// An empty `end` never comes.
  explicit TextUntil(std::string_view end) : end_(end) {}

  /// Takes in more, and returns what can be shown of it: not what may be the beginning of the end.
  std::string put(std::string_view more);
  /// What was held back, when no more comes.
  std::string rest();
  bool has_ended() const { return has_ended_; }
  /// All up to the end.
  const std::string& text() const { return text_; }

 private:
  std::string end_, text_;
  std::size_t shown_ = 0;
  bool has_ended_ = false;
};

}  // namespace cllm::cli
