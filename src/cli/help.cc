#include "cllm/cli/help.h"

#include <fmt/format.h>

#include <string>
#include <string_view>

namespace cllm::cli {
namespace {

constexpr std::size_t kNameColumns = 34, kTextColumns = 66;

/// The text in lines of at most `columns` where its words allow it.
std::string wrapped(std::string_view text, std::size_t columns) {
  std::string lines;
  while (text.size() > columns) {
    std::size_t end = text.rfind(' ', columns);
    if (end == text.npos) end = text.find(' ');
    if (end == text.npos) break;
    lines.append(text.substr(0, end)) += '\n';
    text.remove_prefix(end + 1);
  }
  return lines.append(text);
}

class Layout : public CLI::Formatter {
 public:
  Layout() { column_width(kNameColumns); }

  std::string make_option_opts(const CLI::Option* option) const override {
    return option->get_type_size() == 0 ? "" : " " + option->get_type_name();
  }

  std::string make_option_desc(const CLI::Option* option) const override {
    std::string text = option->get_description();
    if (option->get_required()) text += " (required)";
    if (const std::string usual = option->get_default_str(); !usual.empty()) {
      text += fmt::format(" [{}]", usual);
    }
    return wrapped(text, kTextColumns);
  }
};

}  // namespace

std::shared_ptr<CLI::Formatter> help_layout() { return std::make_shared<Layout>(); }

}  // namespace cllm::cli
