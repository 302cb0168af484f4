#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

namespace cllm::report {

/// What is wrong with a page of HTML, or a piece of SVG, that closes what it opens; empty where it
/// is well-formed: tags nest, attributes are quoted, '<' and '&' stand for nothing else.
inline std::string malformed(std::string_view text) {
  std::vector<std::string> open;
  const auto near = [&](std::size_t at) { return std::string(text.substr(at, 60)); };
  std::size_t at = 0;
  while (at < text.size()) {
    const char c = text[at];
    if (c == '&') {
      const std::size_t end = text.find(';', at);
      if (end == text.npos || end - at > 8) return "bare &: " + near(at);
    }
    if (c == '>') return "bare >: " + near(at);
    if (c != '<') {
      ++at;
      continue;
    }
    // A tag ends at a '>' outside of quotes.
    std::size_t end = at + 1;
    bool quoted = false;
    for (; end < text.size() && (quoted || text[end] != '>'); ++end) {
      if (text[end] == '"') quoted = !quoted;
      if (text[end] == '<') return "< in a tag: " + near(at);
    }
    if (end >= text.size()) return "a tag without end: " + near(at);
    const std::string tag(text.substr(at + 1, end - at - 1));
    const bool closes = tag.starts_with("/");
    const std::size_t begin = closes ? 1 : 0;
    const std::string name = tag.substr(begin, tag.find_first_of(" /", begin) - begin);
    if (name.empty() || tag.find('\'') != tag.npos) return "no tag: " + near(at);
    const std::size_t equals = tag.find('=');
    if (equals != tag.npos && tag[equals + 1] != '"') return "no quotes: " + near(at);
    at = end + 1;
    if (tag.starts_with("!") || name == "meta" || name == "link" || name == "input") continue;
    if (closes) {
      if (open.empty() || open.back() != name) return "</" + name + "> closes nothing";
      open.pop_back();
    } else if (!tag.ends_with("/")) {
      open.push_back(name);
      if (name == "style" || name == "script") at = std::min(text.find("</", at), text.size());
    }
  }
  return open.empty() ? "" : "<" + open.back() + "> stays open";
}

}  // namespace cllm::report
