// What is written for other programs and read again is what it was.
#include <cmath>

#include "cllm/io/formats/gguf.h"
#include "cllm/io/formats/safetensors.h"
#include "formats_fixture.h"
#include "support/compare.h"
#include "support/reference_model.h"
#include "support/tolerance.h"

namespace cllm::io {
namespace {

using testing::AllOf;
using testing::HasSubstr;

struct Target {
  const char* family;
  const char* format;
};

class ExchangeTest : public FormatsTest, public testing::WithParamInterface<Target> {
 protected:
  ExportReport write_model(const Exported& model, ElementType type = ElementType::kF32) const {
    return GetParam().format == std::string("hf")
               ? export_transformers(path("out"), model.view(), type, 1'000'000)
               : export_gguf(path("out"), model.view(), type);
  }
};

INSTANTIATE_TEST_SUITE_P(All, ExchangeTest,
                         testing::Values(Target{"gpt2", "hf"}, Target{"llama", "hf"},
                                         Target{"qwen3", "hf"}, Target{"nanochat", "hf"},
                                         Target{"gpt2", "gguf"}, Target{"llama", "gguf"},
                                         Target{"qwen3", "gguf"}),
                         [](const auto& test) {
                           return fmt::format("{}_{}", test.param.family, test.param.format);
                         });

TEST_P(ExchangeTest, F32ComesBackWithTheSameBits) {
  for (const bool tied : {true, false}) {
    model::ModelConfig config = small_model(GetParam().family);
    config.parts.tied = tied;
    const Exported model(config);
    const ExportReport report = write_model(model);
    EXPECT_EQ(report.architecture, GetParam().family);
    const Imported back(path("out"));
    EXPECT_EQ(back.head.run.model.parts.tied, tied);
    EXPECT_TRUE(back.layout.config() == model::with_usual_sizes(config))
        << model::shape_text(back.layout.config());
    EXPECT_EQ(bits_of(back.layout, back.parameters),
              bits_of(model.example.layout, model.example.parameters));
    EXPECT_EQ(back.head.run.tokenizer_kind, "bytes");
    std::filesystem::remove_all(path("out"));
  }
}

TEST_P(ExchangeTest, SmallTypesComeBackRounded) {
  const Exported model(small_model(GetParam().family));
  for (const auto& [type, unit] :
       {std::pair{ElementType::kF16, 0x1p-11}, std::pair{ElementType::kBf16, 0x1p-8}}) {
    write_model(model, type);
    const Imported back(path("out"));
    const auto before = model.example.parameters;
    double worst = 0;
    for (const model::Tensor& tensor : back.layout.tensors()) {
      for (std::size_t i = tensor.offset; i < tensor.offset + tensor.size(); ++i) {
        // Half of the unit of the last place, and of f16's smallest numbers.
        ASSERT_NEAR(back.parameters[i], before[i], std::abs(before[i]) * unit + 0x1p-25);
        worst = std::max(worst, std::abs(static_cast<double>(back.parameters[i]) -
                                         static_cast<double>(before[i])));
      }
    }
    EXPECT_GT(worst, 0) << "nothing was rounded";
    std::filesystem::remove_all(path("out"));
  }
}

TEST_P(ExchangeTest, NothingIsOverwritten) {
  if (GetParam().format != std::string("hf")) return;  // the command looks before
  const Exported model(small_model(GetParam().family));
  std::filesystem::create_directory(path("out"));
  EXPECT_THROW(write_model(model), Error);
  EXPECT_TRUE(std::filesystem::is_empty(path("out")));
  // Nor is anything left beside it.
  const std::filesystem::directory_iterator all(directory_.path());
  EXPECT_EQ(std::distance(begin(all), end(all)), 1);
}

using PartsTest = FormatsTest;

TEST_F(PartsTest, FactorisedEmbeddingsAreMultipliedOut) {
  model::ModelConfig config = small_model("llama");
  config.embedding_rank = 7;
  const Exported model(config);
  EXPECT_THAT(export_gguf(path("out"), model.view(), ElementType::kF32).notes,
              testing::ElementsAre(HasSubstr("multiplied out")));
  const Imported back(path("out"));
  const model::Layout& ours = model.example.layout;
  const model::Tensor &codes = ours[0], &basis = ours[1], &table = back.layout[0];
  for (std::size_t token = 0; token < 256; token += 17) {
    for (std::size_t c = 0; c < 32; ++c) {
      double expected = 0, size = 0;
      for (std::size_t r = 0; r < 7; ++r) {
        const double term =
            static_cast<double>(model.example.parameters[codes.offset + token * 7 + r]) *
            static_cast<double>(model.example.parameters[basis.offset + r * 32 + c]);
        expected += term;
        size += std::abs(term);
      }
      // The sum is in double and rounded once.
      EXPECT_NEAR(back.parameters[table.offset + token * 32 + c], expected, size * 0x1p-24);
    }
  }
  // All other tensors have one place more with us.
  for (std::size_t i = 1; i < back.layout.tensors().size(); ++i) {
    EXPECT_EQ(ours[i + 1].name, back.layout[i].name);
    EXPECT_EQ(model.example.parameters[ours[i + 1].offset], back.parameters[back.layout[i].offset]);
  }
}

// Bands become one table whose rows are tokens, to which the banded model's logits are equal.
TEST_F(PartsTest, BandsAreMultipliedOutInTheOrderOfTokens) {
  for (const bool tied : {true, false}) {
    model::ModelConfig config = small_model("llama");
    config.bands = model::bands_of("10:32,100:16,rest:7");
    config.parts.tied = tied;
    Exported model(config);
    for (std::uint32_t token = 0; token < config.vocabulary; ++token) {
      model.run.token_rows.push_back(
          static_cast<std::uint32_t>((token * 5 + 2) % config.vocabulary));
    }
    EXPECT_THAT(export_gguf(path("out"), model.view(), ElementType::kF32).notes,
                testing::ElementsAre(HasSubstr("multiplied out")));
    const Imported back(path("out"));
    EXPECT_FALSE(back.layout.config().is_factorised());
    support::Example dense{back.layout, 1, model.example.positions, {}, {}, {}};
    dense.parameters.assign(back.parameters.begin(), back.parameters.end());
    dense.inputs.assign(
        model.example.inputs.begin(),
        model.example.inputs.begin() + static_cast<std::ptrdiff_t>(dense.positions));
    std::vector<std::uint32_t> rows;
    for (const std::uint32_t token : dense.inputs) rows.push_back(model.run.token_rows[token]);
    const support::BatchShape shape{1, dense.positions};
    const support::Matrix<double> theirs = support::reference_logits<double>(
        dense.layout, dense.exact_parameters(), dense.inputs, shape);
    const support::Matrix<double> ours = support::reference_logits<double>(
        model.example.layout, model.example.exact_parameters(), rows, shape);
    support::Matrix<double> by_tokens = ours;
    for (std::size_t n = 0; n < ours.rows; ++n) {
      for (std::size_t token = 0; token < ours.columns; ++token) {
        by_tokens(n, token) = ours(n, model.run.token_rows[token]);
      }
    }
    // Each number of the table was rounded once, by half a unit; so logits move by kappa of that.
    const double tolerance = 2 * support::logits_condition(dense) * support::kFloatRoundoff;
    EXPECT_TRUE(support::logits_agree<double>(theirs.values, by_tokens, tolerance));
    EXPECT_FALSE(support::logits_agree<double>(theirs.values, ours, tolerance));
    std::filesystem::remove(path("out"));
  }
}

TEST_F(PartsTest, ThoseThatNoArchitectureHasAreNamed) {
  const auto refused = [&](const model::ModelConfig& config, bool gguf) {
    const Exported model(config);
    try {
      if (gguf) {
        export_gguf(path("out"), model.view(), ElementType::kF32);
      } else {
        export_transformers(path("out"), model.view(), ElementType::kF32, 1000);
      }
    } catch (const Error& error) {
      EXPECT_FALSE(std::filesystem::exists(path("out")));
      return std::string(error.what());
    }
    ADD_FAILURE() << "no error for " << model::shape_text(config);
    return std::string();
  };
  EXPECT_THAT(refused(small_model("nanochat"), true),
              AllOf(HasSubstr("llama.cpp has no architecture"), HasSubstr("relu2 MLP"),
                    HasSubstr("softcap"), HasSubstr("norm of embeddings")));
  model::ModelConfig config = small_model("gpt2");
  config.parts.softcap = 20;
  config.parts.mlp = model::MlpKind::kRelu2;
  for (const bool gguf : {false, true}) {
    EXPECT_THAT(refused(config, gguf),
                AllOf(HasSubstr("the nearest, gpt2, lacks: relu2 MLP, softcap")));
  }
  config = small_model("gpt2");
  config.kv_heads = 2;
  EXPECT_THAT(refused(config, false), HasSubstr("heads that share keys"));
  config = small_model("qwen3");
  config.parts.biases = true;
  EXPECT_THAT(refused(config, false), HasSubstr("biases"));
  config = small_model("llama");
  config.parts.embedding_norm = true;
  EXPECT_THAT(refused(config, true), HasSubstr("norm of embeddings"));
  config = small_model("llama");
  config.parts.biases = true;
  EXPECT_THAT(refused(config, true), HasSubstr("biases"));
}

TEST_F(PartsTest, OfAnotherFamilyAreWrittenAsTheArchitectureThatHasThem) {
  model::ModelConfig config = small_model("qwen3");
  config.parts.qk_norm = model::QkNorm::kNone;  // Llama's parts
  const Exported model(config);
  EXPECT_EQ(export_gguf(path("out"), model.view(), ElementType::kF32).architecture, "llama");
  const Imported back(path("out"));
  EXPECT_EQ(bits_of(back.layout, back.parameters),
            bits_of(model.example.layout, model.example.parameters));
  EXPECT_EQ(back.layout.config().parts.norm_epsilon, 1e-6);
}

TEST_F(PartsTest, BiasesOfLlamaGoToTransformersAndBack) {
  model::ModelConfig config = small_model("llama");
  config.parts.biases = true;
  const Exported model(config);
  export_transformers(path("out"), model.view(), ElementType::kF32, 1'000'000);
  const Imported back(path("out"));
  EXPECT_EQ(bits_of(back.layout, back.parameters),
            bits_of(model.example.layout, model.example.parameters));
}

TEST_F(PartsTest, ShardsAreNoLargerThanAskedForAndComeBack) {
  const Exported model(small_model("llama"));
  const std::uint64_t most = 20'000;
  export_transformers(path("out"), model.view(), ElementType::kF32, most);
  std::size_t shards = 0;
  for (const auto& entry : std::filesystem::directory_iterator(path("out"))) {
    if (entry.path().extension() != ".safetensors") continue;
    ++shards;
    std::uint64_t bytes = 0;
    const TensorArchive archive = read_safetensors(entry.path());
    for (const auto& [name, tensor] : archive.tensors) bytes += tensor.bytes.size();
    EXPECT_TRUE(bytes <= most || archive.tensors.size() == 1);
  }
  EXPECT_GT(shards, 3U);
  const Imported back(path("out"));
  EXPECT_EQ(bits_of(back.layout, back.parameters),
            bits_of(model.example.layout, model.example.parameters));
}

TEST_F(PartsTest, WeightsThatATypeCannotHoldAreRefused) {
  Exported model(small_model("llama"));
  model.example.parameters[model.example.layout[3].offset] = 1e30f;
  EXPECT_THROW(export_gguf(path("out"), model.view(), ElementType::kF16), Error);
  EXPECT_FALSE(std::filesystem::exists(path("out")));
  export_gguf(path("out"), model.view(), ElementType::kBf16);
}

TEST_F(PartsTest, QuantisedTypesAreForGgufAndWholeBlocks) {
  model::ModelConfig config = small_model("llama");
  config.mlp_width = 40;  // the rows of the MLP's last matrix are no whole blocks
  const Exported model(config);
  EXPECT_THROW(export_transformers(path("out"), model.view(), ElementType::kQ8_0, 1000), Error);
  const ExportReport report = export_gguf(path("out"), model.view(), ElementType::kQ4_0);
  EXPECT_THAT(report.notes, testing::ElementsAre(HasSubstr("2 matrices are stored as f16")));
  const GgufFile file(path("out"));
  const auto& tensors = file.archive().tensors;
  EXPECT_EQ(tensors.at("blk.0.ffn_up.weight").type_name, "q4_0");
  EXPECT_EQ(tensors.at("blk.1.ffn_down.weight").type_name, "f16");
  EXPECT_EQ(tensors.at("output_norm.weight").type_name, "f32");
  const Imported back(path("out"));
  EXPECT_EQ(back.layout.config().mlp_width, 40U);
}

}  // namespace
}  // namespace cllm::io
