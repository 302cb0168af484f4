// What is said of a directory of transformers that can't be read.
#include <nlohmann/json.hpp>

#include "formats_fixture.h"

namespace cllm::io {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using Json = nlohmann::json;

class TransformersTest : public FormatsTest {
 protected:
  void export_model(const model::ModelConfig& config) const {
    std::filesystem::remove_all(path("out"));
    export_transformers(path("out"), Exported(config).view(), ElementType::kF32, 1'000'000);
  }
  /// The refusal of a model whose config.json was changed.
  std::string refused(const char* family, const Json& changes) const {
    export_model(small_model(family));
    Json config = Json::parse(read_file(path("out") / "config.json"));
    config.merge_patch(changes);
    write("out/config.json", config.dump());
    return refusal(path("out"));
  }
  /// The same where the header of the weights was.
  std::string refused_header(const char* family, const std::string& from,
                             const std::string& to) const {
    export_model(small_model(family));
    std::string bytes = read_file(path("out") / "model.safetensors");
    EXPECT_EQ(from.size(), to.size());
    bytes.replace(bytes.find(from), from.size(), to);
    write("out/model.safetensors", bytes);
    return refusal(path("out"));
  }
};

TEST_F(TransformersTest, ModelsOfOtherMakes) {
  EXPECT_THAT(refused("llama", {{"model_type", "mamba"}}),
              HasSubstr("gpt2, llama, qwen3 and nanochat can be read"));
  EXPECT_THAT(refused("llama", {{"hidden_act", "gelu"}}), HasSubstr("\"silu\""));
  EXPECT_THAT(refused("llama", {{"rope_parameters", {{"rope_type", "yarn"}}}}),
              HasSubstr("\"rope_type\""));
  EXPECT_THAT(refused("llama", {{"rope_scaling", {{"type", "linear"}, {"factor", 2}}}}),
              HasSubstr("\"type\""));
  EXPECT_THAT(refused("llama", {{"attention_bias", true}}), HasSubstr("biases"));
  EXPECT_THAT(refused("qwen3", {{"attention_bias", true}}), HasSubstr("\"attention_bias\""));
  EXPECT_THAT(refused("qwen3", {{"use_sliding_window", true}}), HasSubstr("sliding"));
  EXPECT_THAT(refused("qwen3", {{"layer_types", {"full_attention", "sliding_attention"}}}),
              HasSubstr("slides"));
  EXPECT_THAT(refused("gpt2", {{"activation_function", "gelu"}}), HasSubstr("gelu_new"));
  EXPECT_THAT(refused("gpt2", {{"layer_norm_epsilon", 1e-6}}), HasSubstr("layer_norm_epsilon"));
  EXPECT_THAT(refused("gpt2", {{"scale_attn_by_inverse_layer_idx", true}}), HasSubstr("inverse"));
}

TEST_F(TransformersTest, SizesThatAreNoneOrNotTheFiles) {
  EXPECT_THAT(refused("llama", {{"num_hidden_layers", nullptr}}), HasSubstr("num_hidden_layers"));
  EXPECT_THAT(refused("llama", {{"num_hidden_layers", -1}}), HasSubstr("a whole number"));
  EXPECT_THAT(refused("llama", {{"num_hidden_layers", "two"}}), HasSubstr("a whole number"));
  EXPECT_THAT(refused("llama", {{"num_attention_heads", 0}}), HasSubstr("can't be"));
  EXPECT_THAT(refused("llama", {{"num_hidden_layers", 10'000}}), HasSubstr("10000 layers"));
  EXPECT_THAT(refused("llama", {{"num_hidden_layers", 3}}),
              HasSubstr("lacks the tensor model.layers.2."));
  EXPECT_THAT(refused("llama", {{"num_hidden_layers", 1}}),
              HasSubstr("the model has no place for model.layers.1."));
  EXPECT_THAT(refused("llama", {{"vocab_size", 2'000'000'000}}),
              AllOf(HasSubstr("has the shape (256, 32)"), HasSubstr("(2000000000, 32)")));
  EXPECT_THAT(refused("gpt2", {{"n_positions", 25}}), HasSubstr("transformer.wpe.weight"));
  EXPECT_THAT(refused("llama", {{"tie_word_embeddings", false}}),
              HasSubstr("lacks the tensor lm_head.weight"));
}

TEST_F(TransformersTest, TensorsThatAreMissingOrMore) {
  EXPECT_THAT(refused_header("llama", "layers.1.mlp.up_proj", "layers.1.mlp.xx_proj"),
              HasSubstr("lacks the tensor model.layers.1.mlp.up_proj.weight"));
  std::filesystem::remove(path("out") / "model.safetensors");
  EXPECT_THAT(refusal(path("out")), HasSubstr("save the model as safetensors"));
  std::filesystem::remove(path("out") / "config.json");
  EXPECT_THROW(read_model_head(path("out")), Error);
}

/// A head that a tied model has all the same is its table once more.
TEST_F(TransformersTest, AHeadOfATiedModelMustBeItsTable) {
  model::ModelConfig config = small_model("llama");
  config.parts.tied = false;
  Exported model(config);
  const model::Layout& layout = model.example.layout;
  const auto tie = [&](bool equal) {
    std::filesystem::remove_all(path("out"));
    const std::size_t table = layout[layout.embedding().front().tensor].offset;
    const std::size_t head = layout[layout.lm_head().front().tensor].offset;
    const std::size_t size = layout[layout.embedding().front().tensor].size();
    std::copy_n(model.example.parameters.begin() + static_cast<std::ptrdiff_t>(table), size,
                model.example.parameters.begin() + static_cast<std::ptrdiff_t>(head));
    if (!equal) model.example.parameters[head + 5] += 1;
    export_transformers(path("out"), model.view(), ElementType::kF32, 1'000'000);
    Json json = Json::parse(read_file(path("out") / "config.json"));
    json["tie_word_embeddings"] = true;
    write("out/config.json", json.dump());
  };
  tie(true);
  EXPECT_TRUE(Imported(path("out")).layout.config().parts.tied);
  tie(false);
  EXPECT_THAT(refusal(path("out")), HasSubstr("lm_head.weight is another matrix"));
}

/// The hub's first models have no "transformer." in front, and masks that are no weights.
TEST_F(TransformersTest, OldNamesAreRead) {
  export_model(small_model("gpt2"));
  const Imported before(path("out"));
  std::string bytes = read_file(path("out") / "model.safetensors");
  std::uint64_t length = 0;
  std::memcpy(&length, bytes.data(), sizeof(length));
  Json header = Json::parse(bytes.substr(8, length)), old;
  for (const auto& [name, entry] : header.items()) {
    old[name.starts_with("transformer.") ? name.substr(12) : name] = entry;
  }
  const std::uint64_t end = bytes.size() - 8 - length;
  old["h.1.attn.bias"] = {
      {"dtype", "U8"}, {"shape", {1, 1, 2, 2}}, {"data_offsets", {end, end + 4}}};
  const std::string text = old.dump();
  const std::uint64_t size = text.size();
  write("out/model.safetensors", std::string(reinterpret_cast<const char*>(&size), 8) + text +
                                     bytes.substr(8 + length) + std::string(4, '\1'));
  const Imported after(path("out"));
  EXPECT_EQ(bits_of(after.layout, after.parameters), bits_of(before.layout, before.parameters));
}

TEST_F(TransformersTest, NumbersThatAreNotFiniteAreRefused) {
  Exported model(small_model("llama"));
  model.example.parameters[model.example.layout[2].offset] = std::numeric_limits<float>::infinity();
  export_transformers(path("out"), model.view(), ElementType::kF32, 1'000'000);
  EXPECT_THAT(refusal(path("out")), HasSubstr("not finite"));
}

TEST_F(TransformersTest, ATokenizerThatCannotBeReadIsSaid) {
  export_model(small_model("llama"));
  write("out/tokenizer.json", R"({"model": {"type": "BPE"}})");
  const ModelHead head = read_model_head(path("out"));
  EXPECT_EQ(head.run.tokenizer_kind, "");
  EXPECT_THAT(head.tokenizer_note, HasSubstr("tokenizer.json"));
  write("out/tokenizer.model", "nothing of the kind");
  EXPECT_THAT(refusal(path("out")), HasSubstr("no SentencePiece model"));
}

}  // namespace
}  // namespace cllm::io
