#include "json_lines.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "cllm/base/error.h"
#include "strict_json.h"

namespace cllm::data {
namespace {

using Json = nlohmann::json;

/// The members of a line, of which errors say where they stand.
class Line {
 public:
  Line(std::string place, const TextReading& reading)
      : place_(std::move(place)),
        binary_(reading.binary),
        marks_(reading.rules >= TextRules::kFourth) {}

  const std::string& place() const { return place_; }

  /// A member that is to be a string of text.
  const std::string& text(const Json& object, const char* key) const {
    const auto found = object.find(key);
    if (found == object.end()) fail("{}: there is no `{}`; give one", place_, key);
    if (!found->is_string()) {
      fail("{}: `{}` is of the type {}; give a string", place_, key, found->type_name());
    }
    const auto& text = found->get_ref<const std::string&>();
    if (!binary_ && text.find('\0') != text.npos) {
      fail("{}: `{}` holds the character NUL, so it is no text; remove it", place_, key);
    }
    return text;
  }

  /// One message of a conversation, in ChatML.
  void add_message(const Json& message, DocumentJoiner& joiner) const {
    if (!message.is_object()) {
      fail("{}: a message is of the type {}; give an object", place_, message.type_name());
    }
    const std::string& role = text(message, "role");
    if (std::ranges::find(kRoles, std::string_view(role)) == kRoles.end()) {
      fail("{}: the role of a message is none of {}", place_, fmt::join(kRoles, ", "));
    }
    // What a model said by calling a tool is not in the content.
    if (const auto calls = message.find("tool_calls"); calls != message.end() && !calls->empty()) {
      fail("{}: a message has `tool_calls`, which can't be read; make them text in `content`",
           place_);
    }
    const std::string& content = text(message, "content");
    const bool is_learned = role == "assistant";
    joiner.mark(Marker::kTurnStart);
    joiner.add(role);
    joiner.add("\n");
    if (is_learned) mark(Marker::kCompletion, joiner);
    joiner.add(content);
    joiner.mark(Marker::kTurnEnd);
    if (is_learned) mark(Marker::kPrompt, joiner);
    joiner.add("\n");
  }

  /// Puts a mark that has no token, where the rules know it.
  void mark(Marker marker, DocumentJoiner& joiner) const {
    if (marks_) joiner.mark(marker);
  }

  void add_completion(const Json& object, DocumentJoiner& joiner) const {
    const std::string &prompt = text(object, "prompt"), &completion = text(object, "completion");
    if (prompt.empty() && completion.empty()) return;
    mark(Marker::kPrompt, joiner);
    joiner.add(prompt);
    mark(Marker::kCompletion, joiner);
    joiner.add(completion);
  }

 private:
  static constexpr std::array<std::string_view, 4> kRoles = {"system", "user", "assistant", "tool"};

  std::string place_;
  bool binary_, marks_;
};

void add_conversation(const Json& messages, const Line& line, DocumentJoiner& joiner) {
  if (!messages.is_array() || messages.empty()) {
    fail("{}: `messages` is no list with a message in it", line.place());
  }
  line.mark(Marker::kPrompt, joiner);
  for (const Json& message : messages) line.add_message(message, joiner);
}

}  // namespace

bool names_json_lines(const std::filesystem::path& path) {
  const std::string name = path.filename().string();
  return std::ranges::any_of(std::array{".jsonl", ".jsonl.gz", ".jsonl.zst"},
                             [&](const char* ending) { return name.ends_with(ending); });
}

void add_json_lines(std::string_view file, const std::string& name, const TextReading& reading,
                    DocumentJoiner& joiner, std::string& conversation) {
  for (std::size_t number = 1; !file.empty(); ++number) {
    const std::string_view text = file.substr(0, file.find('\n'));
    file.remove_prefix(std::min(text.size() + 1, file.size()));
    if (text.find_first_not_of(" \t\r") == text.npos) continue;
    const Line line(fmt::format("{}, line {}", name, number), reading);
    const Json object = parse_strict_json(text, line.place());
    if (object.contains("text")) {
      joiner.add(line.text(object, "text"));
    } else if (object.contains("messages")) {
      add_conversation(object.at("messages"), line, joiner);
      if (conversation.empty()) conversation = line.place();
    } else if (object.contains("prompt") && object.contains("completion")) {
      line.add_completion(object, joiner);
    } else {
      fail("{}: it is no object with `text`, `messages`, or `prompt` and `completion`",
           line.place());
    }
    joiner.end_document();
  }
}

}  // namespace cllm::data
