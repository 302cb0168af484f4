// Adapters that PEFT has written give the logits that transformers computes with them, and go back
// as they were (tests/interop/make_adapters.py).
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>

#include "cllm/io/formats/safetensors.h"
#include "cllm/model/merge.h"
#include "formats_fixture.h"
#include "support/compare.h"
#include "support/matrix.h"
#include "support/reference_gradients.h"
#include "support/tolerance.h"

namespace cllm::io {
namespace {

using model::Projection;
using support::Matrix;

struct Case {
  const char* name;
  const char* targets;
};

class AdaptersGolden : public testing::TestWithParam<Case> {
 protected:
  const std::filesystem::path base_ = std::filesystem::path(kGoldenModels) / GetParam().name;
  const std::filesystem::path folder_ =
      std::filesystem::path(kGoldenModels) / (std::string("adapter-") + GetParam().name);
  support::ScratchDirectory scratch_;
};

INSTANTIATE_TEST_SUITE_P(All, AdaptersGolden,
                         testing::Values(Case{"gpt2-f32", "c_attn,c_fc,down_proj"},
                                         Case{"llama-bf16-sharded", "all"},
                                         Case{"qwen3-f16", "q_proj,v_proj,up_proj"},
                                         Case{"nanochat-f32", "q_proj,k_proj,fc1,fc2"}),
                         [](const auto& test) {
                           const std::string name = test.param.name;
                           return name.substr(0, name.find('-'));
                         });

/// The module of transformers that an adapter is for.
std::string module_of(std::string_view family, const std::string& tensor, Projection target) {
  const std::string layer = tensor.substr(2, tensor.find('.', 2) - 2);
  const std::string_view name = model::name_of(target);
  if (family == "gpt2") {
    const char* module = target == Projection::kO      ? "attn.c_proj"
                         : target == Projection::kUp   ? "mlp.c_fc"
                         : target == Projection::kDown ? "mlp.c_proj"
                                                       : "attn.c_attn";
    return fmt::format("transformer.h.{}.{}", layer, module);
  }
  if (target == Projection::kGate || target == Projection::kUp || target == Projection::kDown) {
    if (family != "nanochat") return fmt::format("model.layers.{}.mlp.{}", layer, name);
    return fmt::format("model.layers.{}.mlp.{}", layer, target == Projection::kUp ? "fc1" : "fc2");
  }
  return fmt::format("model.layers.{}.self_attn.{}", layer, name);
}

Matrix<double> matrix_of(const TensorArchive& archive, const std::string& name) {
  const StoredTensor& tensor = archive.tensors.at(name);
  Matrix<double> matrix(tensor.shape.at(0), tensor.shape.at(1));
  std::vector<float> values(matrix.values.size());
  decode(*tensor.type, tensor.bytes, values);
  std::ranges::copy(values, matrix.values.begin());
  return matrix;
}

std::string tensor_name(const std::string& module, const char* which) {
  return fmt::format("base_model.model.{}.lora_{}.weight", module, which);
}

/// The base with PEFT's adapters, in our layout.
support::Example adapted(const Imported& base, const TensorArchive& peft, const char* targets,
                         const std::vector<std::uint32_t>& tokens) {
  model::ModelConfig config = base.layout.config();
  const bool has_gates = config.parts.mlp == model::MlpKind::kSwiglu;
  config.lora = {3, 7, model::projections_of(targets, has_gates)};
  support::Example e{model::Layout(config), 1, tokens.size(), {}, tokens, tokens};
  e.parameters.resize(e.layout.flat_size());
  model::merge(base.layout, base.parameters, e.layout, e.parameters);
  for (std::size_t i = 0; i < e.layout.tensors().size(); ++i) {
    for (const model::AdapterTensors& adapter : e.layout.adapters_of(i)) {
      const std::string module = module_of(config.family, e.layout[adapter.a].name, adapter.target);
      const Matrix<double> a = matrix_of(peft, tensor_name(module, "A"));
      const Matrix<double> b = matrix_of(peft, tensor_name(module, "B"));
      const bool is_turned = config.family == "nanochat" &&
                             (adapter.target == Projection::kQ || adapter.target == Projection::kK);
      float* const ours_a = e.parameters.data() + e.layout[adapter.a].offset;
      float* const ours_b = e.parameters.data() + e.layout[adapter.b].offset;
      std::ranges::transform(a.values, ours_a, [](double x) { return static_cast<float>(x); });
      const std::size_t d = config.head_size;
      for (std::size_t row = 0; row < adapter.rows; ++row) {
        // Rotation there has the halves of a head exchanged.
        const std::size_t turned = row - row % d + (row % d + d / 2) % d;
        const std::size_t theirs =
            (config.family == "gpt2" && adapter.target <= Projection::kV ? adapter.first_row : 0) +
            (is_turned ? turned : row);
        for (std::size_t k = 0; k < 3; ++k) {
          ours_b[row * 3 + k] = static_cast<float>(b(theirs, k));
        }
      }
    }
  }
  return e;
}

TEST_P(AdaptersGolden, HaveTheLogitsOfTransformersAndGoBack) {
  const Imported base(base_);
  const TensorArchive peft = read_safetensors(folder_ / "adapter_model.safetensors");
  const auto tokens =
      nlohmann::json::parse(read_file(base_ / "tokens.json")).get<std::vector<std::uint32_t>>();
  const support::Example e = adapted(base, peft, GetParam().targets, tokens);
  Matrix<double> ours =
      support::reference_logits<double>(e.layout, e.exact_parameters(), tokens, {1, tokens.size()});
  const std::string bytes = read_file(folder_ / "logits.bin");
  std::vector<float> theirs(bytes.size() / sizeof(float));
  std::memcpy(theirs.data(), bytes.data(), theirs.size() * sizeof(float));
  Matrix<double> expected(ours.rows, ours.columns);
  ASSERT_EQ(theirs.size(), expected.values.size());
  std::ranges::copy(theirs, expected.values.begin());
  const double tolerance =
      support::logits_tolerance(e, support::kFloatRoundoff, tokens.size() * tokens.size());
  EXPECT_LT(tolerance, 1e-3);
  EXPECT_TRUE(support::logits_agree<double>(ours.values, expected, tolerance));
  ours.values[7] += 0.01;
  EXPECT_FALSE(support::logits_agree<double>(ours.values, expected, tolerance));

  // Back: the same names and, where PEFT has as many adapters as we, the same numbers.
  RunState run;
  run.model = e.layout.config();
  const std::filesystem::path out = scratch_.path() / "adapter";
  export_adapters(out, {run, e.layout, e.parameters, "the model"}, ElementType::kF32, "the base");
  const TensorArchive written = read_safetensors(out / "adapter_model.safetensors");
  const auto config = nlohmann::json::parse(read_file(out / "adapter_config.json"));
  EXPECT_EQ(config.at("base_model_name_or_path"), "the base");
  EXPECT_EQ(config.at("fan_in_fan_out"), e.layout.config().family == "gpt2");
  ASSERT_EQ(written.tensors.size(), peft.tensors.size());
  for (const auto& [name, tensor] : peft.tensors) {
    ASSERT_TRUE(written.tensors.contains(name)) << name;
    if (name.find("c_attn") == name.npos) {
      EXPECT_EQ(matrix_of(written, name).values, matrix_of(peft, name).values) << name;
    }
    // Of GPT-2's c_attn ours are three, and together one of three times the rank.
    if (name.find("c_attn.lora_A") == name.npos) continue;
    EXPECT_EQ(config.at("rank_pattern").at("c_attn"), 9);
    EXPECT_EQ(config.at("alpha_pattern").at("c_attn"), 21);
    const std::string b = name.substr(0, name.rfind("A.weight")) + "B.weight";
    const Matrix<double> one = product(matrix_of(written, b), matrix_of(written, name));
    const Matrix<double> other = product(matrix_of(peft, b), matrix_of(peft, name));
    for (std::size_t i = 0; i < one.values.size(); ++i) {
      EXPECT_NEAR(one.values[i], other.values[i], 1e-12);
    }
  }
}

}  // namespace
}  // namespace cllm::io
