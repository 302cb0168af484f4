#include "cllm/cli/run/conversation.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "cllm/base/error.h"

namespace cllm::cli {
namespace {

using Tokens = ChatTemplate::Tokens;

void append(Tokens& tokens, const Tokens& more) {
  tokens.insert(tokens.end(), more.begin(), more.end());
}

}  // namespace

ChatTemplate::ChatTemplate(const data::Tokenizer& tokenizer) : tokenizer_(&tokenizer) {
  const auto& specials = tokenizer.specials();
  const auto start = specials.find("<|im_start|>"), end = specials.find("<|im_end|>");
  if (start == specials.end() || end == specials.end()) return;
  start_ = start->second;
  end_ = end->second;
}

Tokens ChatTemplate::message(std::string_view role, std::string_view text) const {
  Tokens tokens = {*start_};
  append(tokens, tokenizer_->encode(fmt::format("{}\n{}", role, text)));
  tokens.push_back(*end_);
  append(tokens, tokenizer_->encode("\n"));
  return tokens;
}

Tokens ChatTemplate::system_message(std::string_view text) const {
  return is_chatml() ? message("system", text)
                     : tokenizer_->encode(fmt::format("System: {}\n", text));
}

Tokens ChatTemplate::question(std::string_view text) const {
  if (!is_chatml()) return tokenizer_->encode(fmt::format("User: {}\nAssistant:", text));
  Tokens tokens = message("user", text);
  tokens.push_back(*start_);
  append(tokens, tokenizer_->encode("assistant\n"));
  return tokens;
}

Tokens ChatTemplate::answer(Tokens tokens, std::string_view text) const {
  // The last token may be more than the text: what is left of it is written anew.
  std::size_t length = tokenizer_->decode(tokens).size();
  while (length > text.size()) {
    length -= tokenizer_->token_bytes(tokens.back()).size();
    tokens.pop_back();
  }
  append(tokens, tokenizer_->encode(text.substr(length)));
  if (is_chatml()) tokens.push_back(*end_);
  append(tokens, tokenizer_->encode("\n"));
  return tokens;
}

bool ChatTemplate::ends_answer(std::uint32_t token) const {
  return token == tokenizer_->end_of_text() || token == end_ || token == start_;
}

Conversation::Conversation(const ChatTemplate& form, std::string_view system, std::size_t context)
    : form_(&form), context_(context) {
  if (system.empty()) return;
  system_ = form.system_message(system);
  if (!has_room()) {
    fail("--system: its {} tokens leave no room in the context of {}; shorten it", system_.size(),
         context_);
  }
}

void Conversation::ask(std::string_view question) {
  Tokens tokens = form_->question(question);
  if (system_.size() + tokens.size() >= context_) {
    fail("the message takes {} tokens, and the context has room for {}; shorten it", tokens.size(),
         context_ - system_.size() - 1);
  }
  question_size_ = tokens.size();
  turns_.push_back(std::move(tokens));
}

void Conversation::close(std::string_view text) {
  Tokens& turn = turns_.back();
  const auto answer = turn.begin() + static_cast<std::ptrdiff_t>(question_size_);
  const Tokens closed = form_->answer(Tokens(answer, turn.end()), text);
  turn.erase(answer, turn.end());
  append(turn, closed);
}

std::size_t Conversation::make_room() {
  if (has_room()) return 0;
  std::size_t forgotten = 0;
  for (; turns_.size() > 1 && size() > context_ / 2; ++forgotten) turns_.pop_front();
  return forgotten;
}

std::size_t Conversation::size() const {
  std::size_t size = system_.size();
  for (const Tokens& turn : turns_) size += turn.size();
  return size;
}

Tokens Conversation::tokens() const {
  Tokens tokens = system_;
  for (const Tokens& turn : turns_) append(tokens, turn);
  return tokens;
}

std::string TextUntil::put(std::string_view more) {
  if (has_ended_) return {};
  text_ += more;
  std::size_t safe = text_.size();
  if (!end_.empty()) {
    // What was shown is no part of the end.
    if (const std::size_t end = text_.find(end_, shown_); end != text_.npos) {
      text_.resize(end);
      has_ended_ = true;
      safe = end;
    } else {
      const std::string_view held = std::string_view(text_).substr(shown_);
      std::size_t length = std::min(held.size(), end_.size() - 1);
      while (!held.ends_with(std::string_view(end_).substr(0, length))) --length;
      safe -= length;
    }
  }
  const std::size_t from = std::exchange(shown_, safe);
  return text_.substr(from, safe - from);
}

std::string TextUntil::rest() { return text_.substr(std::exchange(shown_, text_.size())); }

}  // namespace cllm::cli
