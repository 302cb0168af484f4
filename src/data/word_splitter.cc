#include "word_splitter.h"

#include <algorithm>
#include <array>
#include <utility>

#include "cllm/base/utf8.h"
#include "unicode.h"

namespace cllm::data {
namespace {

using Kind = CharacterKind;

constexpr std::array<std::pair<SplitPattern, std::string_view>, 3> kPatterns = {{
    {SplitPattern::kGpt2,
     R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)"},
    {SplitPattern::kLlama3,
     R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"},
    {SplitPattern::kQwen2,
     R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"},
}};

/// A text by its characters' kinds.
class Kinds {
 public:
  explicit Kinds(std::string_view text) : text_(text) {}

  std::size_t size() const { return text_.size(); }
  /// Of the character at `at`; none is at the end.
  std::optional<Kind> at(std::size_t at) const {
    if (at == text_.size()) return {};
    return table_.character(text_, at).kind;
  }
  std::size_t length_at(std::size_t at) const { return table_.character(text_, at).length; }
  /// Where the characters of one kind end that begin at `at`, or the first `most` of them.
  std::size_t end_of_run(std::size_t at, Kind kind,
                         std::size_t most = std::string_view::npos) const {
    for (; most > 0 && at < text_.size(); --most) {
      const Character character = table_.character(text_, at);
      if (character.kind != kind) break;
      at += character.length;
    }
    return at;
  }
  /// Where the characters end that begin at `at` and are of another kind.
  std::size_t end_of_others(std::size_t at, Kind kind) const {
    while (at < text_.size()) {
      const Character character = table_.character(text_, at);
      if (character.kind == kind) break;
      at += character.length;
    }
    return at;
  }

 private:
  std::string_view text_;
  const KindTable& table_ = kind_table();
};

/// 's|'t|'re|'ve|'m|'ll|'d: the length of what matches; 0 where nothing does.
std::size_t contraction(std::string_view text, bool ignores_case) {
  if (text.size() < 2 || text[0] != '\'') return 0;
  if (ignores_case && text.substr(1).starts_with("\u017F")) return 3;  // the long s
  const auto letter = [&](std::size_t i) {
    const char c = i < text.size() ? text[i] : '\0';
    return ignores_case && c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  };
  const char first = letter(1), second = letter(2);
  if (first == 's' || first == 't' || first == 'm' || first == 'd') return 2;
  const bool two = (first == 'r' && second == 'e') || (first == 'v' && second == 'e') ||
                   (first == 'l' && second == 'l');
  return two ? 3 : 0;
}

/// \s+(?!\S)|\s+: white space, without its last character where more is to come.
std::size_t white_space(const Kinds& kinds) {
  std::size_t end = 0, last = 0;
  while (kinds.at(end) == Kind::space) {
    last = end;
    end += kinds.length_at(end);
  }
  return end == kinds.size() || last == 0 ? end : last;
}

std::size_t gpt2_word(std::string_view text) {
  if (const std::size_t length = contraction(text, false)) return length;
  const Kinds kinds(text);
  const std::size_t space = text[0] == ' ' ? 1 : 0;
  const std::optional<Kind> kind = kinds.at(space);
  if (kind && kind != Kind::space) return kinds.end_of_run(space, *kind);
  return white_space(kinds);
}

std::size_t llama3_word(std::string_view text, std::size_t most_digits) {
  if (const std::size_t length = contraction(text, true)) return length;
  const Kinds kinds(text);
  const std::optional<Kind> first = kinds.at(0);
  if (first == Kind::letter) return kinds.end_of_run(0, Kind::letter);
  if (first == Kind::number) return kinds.end_of_run(0, Kind::number, most_digits);
  const bool is_newline = text[0] == '\r' || text[0] == '\n';
  const std::size_t second = kinds.length_at(0);
  if (!is_newline && kinds.at(second) == Kind::letter) {
    return kinds.end_of_run(second, Kind::letter);
  }
  const std::size_t space = text[0] == ' ' ? 1 : 0;
  if (kinds.at(space) == Kind::other) {
    const std::size_t end = kinds.end_of_run(space, Kind::other);
    return std::min(text.find_first_not_of("\r\n", end), text.size());
  }
  const std::string_view spaces = text.substr(0, kinds.end_of_run(0, Kind::space));
  const std::size_t newline = spaces.find_last_of("\r\n");
  return newline == spaces.npos ? white_space(kinds) : newline + 1;
}

/// The kind of the character that ends at `at`; bytes that are no UTF-8 are of kind other.
Kind kind_before(std::string_view text, std::size_t at) {
  for (std::size_t back = 1; back <= std::min<std::size_t>(4, at); ++back) {
    const std::string_view character = text.substr(at - back);
    if (utf8_length(character) == back) return kind_table().character(character, 0).kind;
  }
  return Kind::other;
}

}  // namespace

std::optional<SplitPattern> find_split_pattern(std::string_view regular_expression) {
  for (const auto& [pattern, spelling] : kPatterns) {
    if (spelling == regular_expression) return pattern;
  }
  return {};
}

std::string_view regular_expression(SplitPattern pattern) {
  return std::ranges::find(kPatterns, pattern, &decltype(kPatterns)::value_type::first)->second;
}

std::size_t WordSplitter::part_length(std::string_view text) const {
  if (digits_ == DigitSplit::kNone) return text.size();
  const std::size_t most = digits_ == DigitSplit::kSingle ? 1 : text.npos;
  const Kinds kinds(text);
  const std::size_t numbers = kinds.end_of_run(0, Kind::number, most);
  return numbers > 0 ? numbers : kinds.end_of_others(0, Kind::number);
}

std::size_t WordSplitter::word_length(std::string_view part) const {
  switch (pattern_) {
    case SplitPattern::kGpt2:
      return gpt2_word(part);
    case SplitPattern::kLlama3:
      return llama3_word(part, 3);
    case SplitPattern::kQwen2:
      break;
  }
  return llama3_word(part, 1);
}

bool can_cut(std::string_view text, std::size_t at) {
  if (at == 0 || at >= text.size()) return false;
  if (text[at] == ' ') return kind_before(text, at) != Kind::space;
  if (text[at - 1] != '\n' || at < 2 || kind_before(text, at - 1) == Kind::space) return false;
  const std::string_view rest = text.substr(at);
  return utf8_length(rest) > 0 && Kinds(rest).at(0) != Kind::space;
}

}  // namespace cllm::data
