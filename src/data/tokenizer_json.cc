#include "tokenizer_json.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "cllm/base/error.h"
#include "cllm/data/byte_alphabet.h"
#include "strict_json.h"

namespace cllm::data {
namespace {

using Json = nlohmann::json;

constexpr std::uint32_t kNoToken = ~std::uint32_t{0};

/// A field, or a value that stands for its absence.
const Json& field(const Json& json, const char* key) {
  static const Json null;
  const auto found = json.is_object() ? json.find(key) : json.end();
  return json.is_object() && found != json.end() ? *found : null;
}

std::string text_of(const Json& json) {
  return json.is_string() ? json.get<std::string>() : json.is_null() ? "" : json.dump();
}

/// A value in an error message.
std::string brief(const Json& json) {
  constexpr std::size_t kMost = 300;
  const std::string text = json.dump(-1, ' ', true);
  return text.size() <= kMost ? text : text.substr(0, kMost) + "…";
}

/// Reads one tokenizer.json into a model.
class Reader {
 public:
  explicit Reader(const std::string& name) : name_(name) {}

  BytePairModel read(std::string_view text) {
    const Json json = parse_strict_json(text, name_);
    const Json& model = field(json, "model");
    require_known(model);
    read_normalizer(field(json, "normalizer"));
    read_splitting(field(json, "pre_tokenizer"));
    read_vocabulary(field(model, "vocab"));
    read_bytes();
    read_merges(field(model, "merges"));
    if (is_set(model, "ignore_merges")) read_words();
    read_added(field(json, "added_tokens"));
    return std::move(model_);
  }

 private:
  template <typename... Args>
  [[noreturn]] void refuse(fmt::format_string<Args...> format, Args&&... args) const {
    fail("{}: {}", name_, fmt::format(format, std::forward<Args>(args)...));
  }

  bool is_set(const Json& json, const char* key, bool otherwise = false) const {
    const Json& value = field(json, key);
    if (value.is_null()) return otherwise;
    if (!value.is_boolean()) refuse("{} is {}, but must be true or false", key, brief(value));
    return value.get<bool>();
  }

  std::uint32_t token_in(const Json& json) const {
    if (!json.is_number_unsigned() || json.get<std::uint64_t>() >= kNoToken) {
      refuse("{} is no token: ids are integers from 0", brief(json));
    }
    return json.get<std::uint32_t>();
  }

  void require_known(const Json& model) const {
    const std::string type = text_of(field(model, "type"));
    if (!field(model, "vocab").is_object() || !field(model, "merges").is_array() ||
        (type != "BPE" && !type.empty())) {
      refuse(
          "it is not the tokenizer.json of a byte-level BPE{}; of a SentencePiece model give the "
          "tokenizer.model",
          type.empty() ? "" : " but of a model of type " + type);
    }
    for (const char* key : {"dropout", "continuing_subword_prefix", "end_of_word_suffix"}) {
      const Json& value = field(model, key);
      const bool is_off = value.is_null() || value == "" || value == 0.0;
      if (!is_off) refuse("{} {} is not known here; byte-level BPE has none", key, brief(value));
    }
  }

  /// Ids of a vocabulary may have holes, but no more than it has entries.
  void require_dense(std::uint64_t largest, std::uint64_t entries) const {
    if (largest >= 2 * entries + 256) {
      refuse("it has a token {}, but only {} tokens: it is corrupt", largest, entries);
    }
  }

  void read_vocabulary(const Json& vocabulary) {
    std::uint64_t largest = 0;
    ids_.reserve(vocabulary.size());
    for (const auto& [spelling, id] : vocabulary.items()) {
      largest = std::max<std::uint64_t>(largest, token_in(id));
      ids_.emplace(spelling, id.get<std::uint32_t>());
    }
    if (ids_.empty()) refuse("its vocabulary is empty");
    require_dense(largest, ids_.size());
    model_.tokens.resize(largest + 1);
    is_taken_.resize(largest + 1);
    for (const auto& [spelling, id] : ids_) {
      take(id, spelling);
      // What is not of the alphabet no text becomes; its bytes are those of its spelling.
      model_.tokens[id] = from_byte_alphabet(spelling).value_or(spelling);
    }
  }

  void take(std::uint32_t id, const std::string& spelling) {
    if (is_taken_[id]) refuse("{:?} has the id {} of another token", spelling, id);
    is_taken_[id] = true;
  }

  void read_bytes() {
    for (unsigned byte = 0; byte < 256; ++byte) {
      const std::string text(1, static_cast<char>(byte));
      const auto found = ids_.find(in_byte_alphabet(text));
      if (found == ids_.end()) {
        refuse(
            "its vocabulary has no token for the byte 0x{:02X}, so not every text has tokens; "
            "train it with all of ByteLevel.alphabet() as its initial_alphabet",
            byte);
      }
      model_.bytes[byte] = found->second;
    }
  }

  void read_merges(const Json& merges) {
    std::set<std::pair<std::uint32_t, std::uint32_t>> seen;
    model_.merges.reserve(merges.size());
    for (const Json& merge : merges) {
      const auto [left, right] = halves_of(merge);
      const Merge tokens{id_of(left, merge), id_of(right, merge), id_of(left + right, merge)};
      if (!seen.emplace(tokens.left, tokens.right).second) {
        refuse("it lists the merge {} twice", brief(merge));
      }
      model_.merges.push_back(tokens);
    }
  }

  /// ["a","b"], or as older files have it "a b".
  std::pair<std::string, std::string> halves_of(const Json& merge) const {
    if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      return {merge[0], merge[1]};
    }
    const std::string text = merge.is_string() ? merge.get<std::string>() : "";
    const std::size_t space = text.find(' ');
    if (space == 0 || space == text.npos || space + 1 == text.size() ||
        text.find(' ', space + 1) != text.npos) {
      refuse("{} is no merge: one is of two tokens", brief(merge));
    }
    return {text.substr(0, space), text.substr(space + 1)};
  }

  std::uint32_t id_of(const std::string& spelling, const Json& merge) const {
    const auto found = ids_.find(spelling);
    if (found == ids_.end()) {
      refuse("its vocabulary lacks {:?} of the merge {}", spelling, brief(merge));
    }
    return found->second;
  }

  void read_words() {
    for (const auto& [spelling, id] : ids_) {
      if (from_byte_alphabet(spelling)) model_.words.push_back(id);
    }
    std::ranges::sort(model_.words);  // the order of a hash table is no order
  }

  void read_added(const Json& added) {
    if (added.is_null()) return;
    if (!added.is_array()) refuse("added_tokens is no list");
    std::unordered_set<std::string> seen;
    for (const Json& token : added) {
      const std::string content = text_of(field(token, "content"));
      if (content.empty() || !seen.insert(content).second) {
        refuse("it has an added token without content, or the token {:?} twice", content);
      }
      add(token, content, token_in(field(token, "id")));
    }
    std::ranges::stable_sort(model_.added, std::ranges::greater{},
                             [](const BytePairModel::Added& one) { return one.content.size(); });
  }

  void add(const Json& token, const std::string& content, std::uint32_t id) {
    const auto known = ids_.find(content);
    if (known != ids_.end() && known->second != id) {
      refuse("the added token {:?} has the ids {} and {}", content, known->second, id);
    }
    if (id >= model_.tokens.size()) {
      require_dense(id, model_.tokens.size());
      model_.tokens.resize(id + std::size_t{1});
      is_taken_.resize(id + std::size_t{1});
    }
    if (known == ids_.end()) take(id, content);
    if (is_set(token, "special")) {
      model_.tokens[id].clear();
      model_.specials.emplace(content, id);
      return;
    }
    for (const char* key : {"lstrip", "rstrip", "single_word"}) {
      if (is_set(token, key)) refuse("{} of the added token {:?} is not known here", key, content);
    }
    model_.tokens[id] = content;
    model_.added.push_back({content, id, is_set(token, "normalized", true)});
  }

  void read_normalizer(const Json& normalizer) {
    const std::string type = text_of(field(normalizer, "type"));
    if (type == "NFC") {
      model_.nfc = true;
    } else if (type == "Sequence" && field(normalizer, "normalizers").is_array()) {
      for (const Json& one : field(normalizer, "normalizers")) {
        if (text_of(field(one, "type")) == "Sequence") refuse("its normalizers are nested");
        read_normalizer(one);
      }
    } else if (!normalizer.is_null()) {
      refuse("its normalizer {} is not known here, only NFC or none", brief(normalizer));
    }
  }

  /// Stages in order: numbers may be cut out, then comes a pattern, and ByteLevel, which may have
  /// GPT-2's pattern itself.
  void read_splitting(const Json& pre_tokenizer) {
    Json stages = field(pre_tokenizer, "pretokenizers");
    if (text_of(field(pre_tokenizer, "type")) != "Sequence") stages = Json::array({pre_tokenizer});
    if (!stages.is_array()) refuse("the list of its pre-tokenizers is none");
    DigitSplit digits = DigitSplit::kNone;
    std::optional<SplitPattern> pattern;
    bool is_byte_level = false;
    for (const Json& stage : stages) {
      const std::string type = text_of(field(stage, "type"));
      const bool has_pattern =
          type == "Split" || (type == "ByteLevel" && is_set(stage, "use_regex", true));
      if (is_byte_level || (pattern && has_pattern)) unknown(pre_tokenizer);
      if (type == "ByteLevel") {
        require_stream(stage);
        is_byte_level = true;
        if (has_pattern) pattern = SplitPattern::kGpt2;
      } else if (type == "Split") {
        pattern = pattern_of(stage, pre_tokenizer);
      } else if (type == "Digits" && digits == DigitSplit::kNone && !pattern) {
        digits = is_set(stage, "individual_digits") ? DigitSplit::kSingle : DigitSplit::kRuns;
      } else {
        unknown(pre_tokenizer);
      }
    }
    if (!is_byte_level || !pattern) unknown(pre_tokenizer);
    model_.splitter = WordSplitter(*pattern, digits);
  }

  void require_stream(const Json& stage) const {
    if (is_set(stage, "add_prefix_space", true)) {
      refuse(
          "it puts a space before each text (add_prefix_space of ByteLevel), but training text is "
          "one stream: train it with add_prefix_space=False");
    }
  }

  SplitPattern pattern_of(const Json& stage, const Json& all) const {
    const auto pattern = find_split_pattern(text_of(field(field(stage, "pattern"), "Regex")));
    const bool is_isolated = text_of(field(stage, "behavior")) == "Isolated";
    if (!pattern || !is_isolated || is_set(stage, "invert")) unknown(all);
    return *pattern;
  }

  [[noreturn]] void unknown(const Json& pre_tokenizer) const {
    refuse(
        "its pre-tokenizer {} is not known here, only ByteLevel with the patterns of GPT-2, Llama "
        "3 and Qwen2, with Digits before them or without",
        brief(pre_tokenizer));
  }

  std::string name_;
  BytePairModel model_;
  std::unordered_map<std::string, std::uint32_t> ids_;  // of the vocabulary, as it is spelled there
  std::vector<bool> is_taken_;
};

}  // namespace

BytePairModel parse_tokenizer_json(std::string_view text, const std::string& name) {
  return Reader(name).read(text);
}

}  // namespace cllm::data
