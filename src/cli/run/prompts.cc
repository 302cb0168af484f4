#include "cllm/cli/run/prompts.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "cllm/base/error.h"
#include "cllm/base/file.h"

namespace cllm::cli {
namespace {

using nlohmann::json;

/// The "prompt" of an object; empty where there is none, or two, of which readers take either.
std::string prompt_of_json(std::string_view line) {
  int found = 0;
  const auto count = [&](int depth, json::parse_event_t event, json& value) {
    if (event == json::parse_event_t::key && depth == 1 && value == "prompt") ++found;
    return true;
  };
  const json object = json::parse(line, count, false);
  if (!object.is_object() || found != 1 || !object["prompt"].is_string()) return {};
  return object["prompt"];
}

}  // namespace

std::vector<Prompt> read_prompts(const std::filesystem::path& file) {
  constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
  const bool is_json = file.extension() == ".jsonl";
  const std::string contents = read_file(file);
  std::string_view rest = contents;
  if (rest.starts_with(kByteOrderMark)) rest.remove_prefix(kByteOrderMark.size());

  std::vector<Prompt> prompts;
  while (!rest.empty()) {
    std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(rest.size(), line.size() + 1));
    if (line.ends_with('\r')) line.remove_suffix(1);
    const std::string where = fmt::format("{}:{}", file.string(), prompts.size() + 1);
    std::string text = is_json ? prompt_of_json(line) : std::string(line);
    if (text.empty() && is_json) {
      fail(
          "{} is no JSON object with one \"prompt\" of at least a character; mend or remove the "
          "line",
          where);
    }
    if (text.empty()) fail("{} is empty; give a prompt in each line", where);
    prompts.push_back({std::move(text), where});
  }
  if (prompts.empty()) fail("{} is empty; give a prompt in each line", file.string());
  return prompts;
}

}  // namespace cllm::cli
