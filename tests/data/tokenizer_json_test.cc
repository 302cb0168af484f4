#include <gmock/gmock.h>

#include <functional>
#include <nlohmann/json.hpp>

#include "cllm/base/file.h"
#include "cllm/data/tokenizer.h"
#include "support/error_of.h"

namespace cllm::data {
namespace {

using Json = nlohmann::json;
using testing::HasSubstr;

const std::string kText = read_file(CLLM_TESTS_DIR "/golden/tokenizers/llama3.json");

std::unique_ptr<Tokenizer> parse(const std::string& text) {
  return make_tokenizer("byte-level-bpe", text);
}

/// A tokenizer.json that is right but for one change, and what is said of it.
struct Wrong {
  const char* name;
  const char* pointer;  ///< of the value that is changed
  Json value;           ///< null: it is removed
  const char* message;
};

std::ostream& operator<<(std::ostream& out, const Wrong& wrong) { return out << wrong.name; }

class WrongJson : public testing::TestWithParam<Wrong> {};
INSTANTIATE_TEST_SUITE_P(
    , WrongJson,
    testing::Values(
        Wrong{"NoModel", "/model", {}, "not the tokenizer.json"},
        Wrong{"Unigram", "/model/type", "Unigram", "model of type Unigram"},
        Wrong{"NoVocabulary", "/model/vocab", Json::object(), "vocabulary is empty"},
        Wrong{"VocabularyIsAList", "/model/vocab", Json::array(), "not the tokenizer.json"},
        Wrong{"NoMerges", "/model/merges", {}, "not the tokenizer.json"},
        Wrong{"Dropout", "/model/dropout", 0.1, "dropout 0.1"},
        Wrong{"Prefix", "/model/continuing_subword_prefix", "##", "continuing_subword_prefix"},
        Wrong{"NoByte", "/model/vocab/!", {}, "byte 0x21"},
        Wrong{"NegativeId", "/model/vocab/!", -1, "-1 is no token"},
        Wrong{"FractionalId", "/model/vocab/!", 1.5, "1.5 is no token"},
        Wrong{"HugeId", "/model/vocab/!", 4000000000u, "has a token 4000000000"},
        Wrong{"HugerId", "/model/vocab/!", 1ull << 40, "is no token"},
        Wrong{"SameId", "/model/vocab/!", 77, "id 77 of another"},
        Wrong{"MergeOfOne", "/model/merges/0", Json::array({"a"}), "is no merge"},
        Wrong{"MergeOfThree", "/model/merges/0", "a b c", "is no merge"},
        Wrong{"MergeOfUnknown", "/model/merges/0", Json::array({"a", "zzzz"}), "lacks"},
        Wrong{"MergeIsANumber", "/model/merges/3", 3, "is no merge"},
        Wrong{"IgnoreMerges", "/model/ignore_merges", "yes", "true or false"},
        Wrong{"AddedIsNoList", "/added_tokens", 5, "no list"},
        Wrong{"AddedTwice", "/added_tokens/1/content", "<|endoftext|>", "twice"},
        Wrong{"AddedWithoutContent", "/added_tokens/1/content", {}, "without content"},
        Wrong{"AddedOfAnotherId", "/added_tokens/1/id", 300, "has the ids"},
        Wrong{"AddedFarAway", "/added_tokens/3/id", 4000000, "has a token 4000000"},
        Wrong{"AddedOverAnother", "/added_tokens/3/id", 9, "id 9 of another"},
        Wrong{"AddedStrips", "/added_tokens/3/lstrip", true, "lstrip"},
        Wrong{"Normalizer", "/normalizer", {{"type", "Lowercase"}}, "Lowercase"},
        Wrong{"NoPreTokenizer", "/pre_tokenizer", {}, "pre-tokenizer null"},
        Wrong{"Metaspace", "/pre_tokenizer", {{"type", "Metaspace"}}, "Metaspace"},
        Wrong{"OtherPattern", "/pre_tokenizer/pretokenizers/0/pattern/Regex", R"(\p{L}+|.)",
              "is not known here"},
        Wrong{"OtherBehavior", "/pre_tokenizer/pretokenizers/0/behavior", "Removed", "Removed"},
        Wrong{"NoByteLevel", "/pre_tokenizer/pretokenizers/1", {}, "is not known here"},
        Wrong{"TwoPatterns", "/pre_tokenizer/pretokenizers/1/use_regex", true, "is not known"},
        Wrong{"NoPattern", "/pre_tokenizer/pretokenizers/0", {}, "is not known here"},
        Wrong{"PrefixSpace", "/pre_tokenizer/pretokenizers/1/add_prefix_space", true,
              "add_prefix_space"}),
    [](const auto& param) { return std::string(param.param.name); });

TEST_P(WrongJson, IsRefusedInASentence) {
  const Wrong& wrong = GetParam();
  Json json = Json::parse(kText);
  EXPECT_NO_THROW(parse(json.dump()));
  const Json::json_pointer place(wrong.pointer);
  if (wrong.value.is_null()) {
    Json& parent = json[place.parent_pointer()];
    if (parent.is_array()) {
      parent.erase(std::stoul(place.back()));
    } else {
      parent.erase(place.back());
    }
  } else {
    json[place] = wrong.value;
  }
  const std::string message = support::error_of([&] { parse(json.dump()); });
  EXPECT_THAT(message, HasSubstr(wrong.message));
  EXPECT_THAT(message, testing::Not(HasSubstr("\n")));
}

TEST(TokenizerJson, RefusesAKeyThatIsThereTwice) {
  std::string text = kText;
  text.insert(text.find("\"vocab\":{") + 9, "\"!\":0,");
  EXPECT_THAT(support::error_of([&] { parse(text); }), HasSubstr("twice"));
  text = kText;
  text.insert(1, "\"model\":{},");
  EXPECT_THAT(support::error_of([&] { parse(text); }), HasSubstr("\"model\" twice"));
}

TEST(TokenizerJson, RefusesValuesWithoutEnd) {
  const std::string deep = std::string(100'000, '[') + std::string(100'000, ']');
  EXPECT_THAT(support::error_of([&] { parse("{\"normalizer\":" + deep + "}"); }),
              HasSubstr("nested"));
  for (const std::string& text : {std::string(), std::string("["), kText.substr(0, 5000),
                                  std::string("\xFF"), std::string("null"), std::string("[]")}) {
    EXPECT_FALSE(support::error_of([&] { parse(text); }).empty());
  }
}

TEST(TokenizerJson, RefusesAMergeThatIsThereTwice) {
  Json json = Json::parse(kText);
  json["model"]["merges"].push_back(json["model"]["merges"][0]);
  EXPECT_THAT(support::error_of([&] { parse(json.dump()); }), HasSubstr("twice"));
}

}  // namespace
}  // namespace cllm::data
