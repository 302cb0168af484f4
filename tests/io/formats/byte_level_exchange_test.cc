// Byte-level BPE travels with models to other programs' formats and back, and makes the same
// tokens.
#include <nlohmann/json.hpp>

#include "cllm/data/byte_level.h"
#include "cllm/data/tokenizer.h"
#include "formats_fixture.h"

namespace cllm::io {
namespace {

const std::filesystem::path kTokenizers = CLLM_TESTS_DIR "/golden/tokenizers";

struct Target {
  const char* tokenizer;
  const char* format;
};

class ByteLevelExchangeTest : public FormatsTest, public testing::WithParamInterface<Target> {
 protected:
  static std::string blob() {
    return read_file(kTokenizers / fmt::format("{}.json", GetParam().tokenizer));
  }

  Exported exported(const std::string& tokenizer, std::size_t more_tokens) const {
    model::ModelConfig config = small_model("qwen3");
    config.vocabulary =
        data::make_tokenizer(data::kByteLevelKind, tokenizer)->vocabulary() + more_tokens;
    Exported model(config);
    model.run.tokenizer_kind = data::kByteLevelKind;
    model.run.tokenizer_blob = tokenizer;
    return model;
  }

  ExportReport write_model(const Exported& model) const {
    return GetParam().format == std::string("hf")
               ? export_transformers(path("out"), model.view(), ElementType::kF32, 1'000'000)
               : export_gguf(path("out"), model.view(), ElementType::kF32);
  }
};

INSTANTIATE_TEST_SUITE_P(All, ByteLevelExchangeTest,
                         testing::Values(Target{"gpt2", "hf"}, Target{"llama3", "hf"},
                                         Target{"qwen2", "hf"}, Target{"smollm", "hf"},
                                         Target{"gpt2", "gguf"}, Target{"llama3", "gguf"},
                                         Target{"qwen2", "gguf"}, Target{"smollm", "gguf"}),
                         [](const auto& test) {
                           return fmt::format("{}_{}", test.param.tokenizer, test.param.format);
                         });

TEST_P(ByteLevelExchangeTest, TokensStayWhatTheyWere) {
  const auto golden = nlohmann::json::parse(read_file(kTokenizers / "ids.json"));
  const std::vector<std::string> texts = golden.at("tricky");
  const auto& ids = golden.at("tokenizers").at(GetParam().tokenizer).at("tricky");
  const std::string tokenizer = blob();
  for (const std::size_t more_tokens : {std::size_t{0}, std::size_t{3}}) {
    write_model(exported(tokenizer, more_tokens));
    const Imported back(path("out"));
    ASSERT_EQ(back.head.run.tokenizer_kind, data::kByteLevelKind) << back.head.tokenizer_note;
    const auto again =
        data::make_tokenizer(back.head.run.tokenizer_kind, back.head.run.tokenizer_blob);
    EXPECT_EQ(again->specials(), data::make_tokenizer(data::kByteLevelKind, tokenizer)->specials());
    for (std::size_t i = 0; i < texts.size(); ++i) {
      EXPECT_EQ(again->encode(texts[i]), ids.at(i).get<std::vector<std::uint32_t>>()) << texts[i];
    }
    std::filesystem::remove_all(path("out"));
  }
}

using ByteLevelTest = FormatsTest;

TEST_F(ByteLevelTest, WhatLlamaCppSplitsOtherwiseIsRefused) {
  const auto refusal_of = [&](const std::string& key, const nlohmann::json& value,
                              const char* tokenizer) {
    auto json = nlohmann::json::parse(read_file(kTokenizers / fmt::format("{}.json", tokenizer)));
    json[nlohmann::json::json_pointer(key)] = value;
    model::ModelConfig config = small_model("llama");
    config.vocabulary = data::make_tokenizer(data::kByteLevelKind, json.dump())->vocabulary();
    Exported model(config);
    model.run.tokenizer_kind = data::kByteLevelKind;
    model.run.tokenizer_blob = json.dump();
    try {
      export_gguf(path("out"), model.view(), ElementType::kF32);
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  EXPECT_EQ(refusal_of("/model/ignore_merges", false, "gpt2"), "");
  EXPECT_THAT(refusal_of("/model/ignore_merges", true, "gpt2"), testing::HasSubstr("--format hf"));
  EXPECT_THAT(refusal_of("/model/ignore_merges", false, "llama3"),
              testing::HasSubstr("--format hf"));
  EXPECT_THAT(refusal_of("/pre_tokenizer/pretokenizers/0/individual_digits", false, "smollm"),
              testing::HasSubstr("splits text"));
}

TEST_F(ByteLevelTest, TokensThatAreNoTextAreRefused) {
  data::ByteLevelTables tables =
      data::byte_level_tables(read_file(kTokenizers / "gpt2.json"), "gpt2");
  tables.tokens.back().text = "\xC8";
  try {
    data::byte_level_json(tables, "a.gguf");
    FAIL() << "it was written";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("a.gguf: its tokenizer has a token"));
  }
}

}  // namespace
}  // namespace cllm::io
