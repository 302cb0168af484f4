// Models that transformers, llama.cpp and llm.c have written compute the logits that transformers
// computes of the same weights (tests/interop/make_golden.py).
#include <cstring>
#include <nlohmann/json.hpp>

#include "formats_fixture.h"
#include "support/compare.h"
#include "support/reference_gradients.h"
#include "support/tolerance.h"

namespace cllm::io {
namespace {

struct Case {
  const char* name;
  const char* family;
  const char* format;
};

class ForeignGolden : public testing::TestWithParam<Case> {
 protected:
  ForeignGolden() {
    // A directory of transformers is the model itself.
    model_ = std::filesystem::exists(folder_ / "model") ? folder_ / "model" : folder_;
  }
  const std::filesystem::path folder_ = std::filesystem::path(kGoldenModels) / GetParam().name;
  std::filesystem::path model_;
};

INSTANTIATE_TEST_SUITE_P(
    All, ForeignGolden,
    testing::Values(Case{"gpt2-f32", "gpt2", "transformers (gpt2)"},
                    Case{"llama-bf16-sharded", "llama", "transformers (llama)"},
                    Case{"qwen3-f16", "qwen3", "transformers (qwen3)"},
                    Case{"nanochat-f32", "nanochat", "transformers (nanochat)"},
                    Case{"gguf-gpt2-f32", "gpt2", "GGUF (gpt2)"},
                    Case{"gguf-llama-f16", "llama", "GGUF (llama)"},
                    Case{"gguf-qwen3-bf16", "qwen3", "GGUF (qwen3)"},
                    Case{"gguf-llama-q8_0", "llama", "GGUF (llama)"},
                    Case{"gguf-llama-q4_0", "llama", "GGUF (llama)"},
                    Case{"llm_c-f32", "gpt2", "llm.c (gpt2)"},
                    Case{"llm_c-bf16", "gpt2", "llm.c (gpt2)"}),
    [](const auto& test) {
      std::string name = test.param.name;
      std::ranges::replace(name, '-', '_');
      return name;
    });

TEST_P(ForeignGolden, HasTheLogitsOfTransformers) {
  const Imported model(model_);
  EXPECT_EQ(model.head.format, GetParam().format);
  EXPECT_EQ(model.layout.config().family, GetParam().family);
  EXPECT_EQ(model.layout.config().vocabulary, 61U);
  const auto tokens =
      nlohmann::json::parse(read_file(folder_ / "tokens.json")).get<std::vector<std::uint32_t>>();
  const support::Example example{model.layout, 1, tokens.size(), model.parameters, tokens, tokens};
  support::Matrix<double> ours = support::reference_logits<double>(
      example.layout, example.exact_parameters(), tokens, {1, tokens.size()});
  const std::string bytes = read_file(folder_ / "logits.bin");
  std::vector<float> theirs(bytes.size() / sizeof(float));
  std::memcpy(theirs.data(), bytes.data(), theirs.size() * sizeof(float));
  ASSERT_EQ(theirs.size(), ours.values.size());
  support::Matrix<double> expected(ours.rows, ours.columns);
  std::ranges::copy(theirs, expected.values.begin());
  // transformers computes in float, also the angles of rotary positions: see model/golden_test.cc.
  const double tolerance =
      support::logits_tolerance(example, support::kFloatRoundoff, tokens.size() * tokens.size());
  EXPECT_LT(tolerance, 1e-3);
  const auto agree = support::logits_agree<double>(ours.values, expected, tolerance);
  EXPECT_TRUE(agree);
  RecordProperty("worst", agree.message());
  ours.values[7] += 0.01;
  EXPECT_FALSE(support::logits_agree<double>(ours.values, expected, tolerance));
}

}  // namespace
}  // namespace cllm::io
