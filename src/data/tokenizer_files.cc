#include "tokenizer_files.h"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <string_view>

#include "cllm/base/error.h"
#include "cllm/base/file.h"
#include "strict_json.h"
#include "unicode.h"

namespace cllm::data {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

/// More than any tokenizer has: the largest in use have some 20 MB.
constexpr std::uintmax_t kMostBytes = std::uintmax_t{256} << 20;

std::string read_small(const fs::path& file) {
  std::error_code unknown;  // reading says what is wrong
  const std::uintmax_t bytes = fs::file_size(file, unknown);
  if (!unknown && bytes > kMostBytes) {
    fail("{} has {} bytes, which no file of a tokenizer has", file.string(), bytes);
  }
  return read_file(file);
}

/// A line a merge, behind a first line that begins with "#version".
Json parse_merges(std::string_view text, const fs::path& file) {
  if (const std::size_t good = well_formed_length(text); good < text.size()) {
    fail("{} is no list of merges: its byte {} is no UTF-8", file.string(), good);
  }
  Json merges = Json::array();
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (!line.empty() && !line.starts_with("#version")) merges.push_back(line);
  }
  return merges;
}

/// tokenizer_config.json's {"50256": {"content": …, "special": true}} as tokenizer.json has it.
Json added_tokens(const Json& config, const fs::path& file) {
  Json added = Json::array();
  const auto decoder = config.find("added_tokens_decoder");
  if (decoder == config.end()) return added;
  for (const auto& [id, token] : decoder->items()) {
    Json entry = token;
    std::uint64_t number = 0;
    const auto [end, error] = std::from_chars(id.data(), id.data() + id.size(), number);
    if (error != std::errc() || end != id.data() + id.size() || !token.is_object()) {
      fail("{}: the added token {} is none: ids are integers", file.string(), id);
    }
    entry["id"] = number;
    added.push_back(entry);
  }
  return added;
}

std::string join_vocabulary_and_merges(const fs::path& vocabulary_file) {
  constexpr std::string_view kEndOfText = "<|endoftext|>";
  const fs::path directory = vocabulary_file.parent_path();
  const fs::path merges_file = directory / "merges.txt";
  const fs::path config_file = directory / "tokenizer_config.json";
  const Json vocabulary = parse_strict_json(read_small(vocabulary_file), vocabulary_file.string());
  if (!vocabulary.is_object()) fail("{} is no vocabulary", vocabulary_file.string());
  Json config = Json::object();
  if (fs::exists(config_file)) {
    config = parse_strict_json(read_small(config_file), config_file.string());
  }
  const std::string kind =
      config.is_object() ? config.value("tokenizer_class", Json("GPT2Tokenizer")).dump() : "";
  const bool is_qwen2 = kind == R"("Qwen2Tokenizer")" || kind == R"("Qwen2TokenizerFast")";
  const bool is_gpt2 = kind == R"("GPT2Tokenizer")" || kind == R"("GPT2TokenizerFast")";
  if (!is_gpt2 && !is_qwen2) {
    fail(
        "{}: the tokenizer_class {} is not known here, and how it splits text stands in no file; "
        "give a tokenizer.json",
        config_file.string(), kind);
  }
  Json added = added_tokens(config, config_file);
  const auto end_of_text = vocabulary.find(kEndOfText);
  if (added.empty() && end_of_text != vocabulary.end()) {
    added.push_back({{"id", *end_of_text}, {"content", kEndOfText}, {"special", true}});
  }
  const Json model = {{"type", "BPE"},
                      {"vocab", vocabulary},
                      {"merges", parse_merges(read_small(merges_file), merges_file)}};
  return Json{
      {"version", "1.0"},
      {"added_tokens", added},
      {"normalizer", is_qwen2 ? Json{{"type", "NFC"}} : Json()},
      {"pre_tokenizer",
       pre_tokenizer_of(is_qwen2 ? SplitPattern::kQwen2 : SplitPattern::kGpt2, DigitSplit::kNone)},
      {"decoder", {{"type", "ByteLevel"}}},
      {"model", model}}
      .dump();
}

}  // namespace

fs::path find_tokenizer_file(const fs::path& path) {
  std::error_code unknown;
  if (!fs::is_directory(path, unknown)) return path;
  for (const char* name : {"tokenizer.json", "tokenizer.model", "vocab.json"}) {
    if (fs::exists(path / name)) return path / name;
  }
  fail(
      "the directory {} holds no tokenizer: give one with a tokenizer.json, a tokenizer.model, or "
      "a vocab.json and a merges.txt",
      path.string());
}

std::string read_tokenizer_json(const fs::path& file) {
  return file.filename() == "vocab.json" ? join_vocabulary_and_merges(file) : read_small(file);
}

Json pre_tokenizer_of(SplitPattern pattern, DigitSplit digits) {
  const bool is_gpt2 = pattern == SplitPattern::kGpt2;
  Json stages = Json::array();
  if (digits != DigitSplit::kNone) {
    stages.push_back({{"type", "Digits"}, {"individual_digits", digits == DigitSplit::kSingle}});
  }
  if (!is_gpt2) {
    stages.push_back({{"type", "Split"},
                      {"pattern", {{"Regex", regular_expression(pattern)}}},
                      {"behavior", "Isolated"},
                      {"invert", false}});
  }
  stages.push_back({{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", is_gpt2}});
  if (stages.size() == 1) return stages[0];
  return {{"type", "Sequence"}, {"pretokenizers", stages}};
}

}  // namespace cllm::data
