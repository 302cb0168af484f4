// Adapters: what the model is with them, and without. Their gradients: fast_model_test.cc.
#include "cllm/model/lora.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "cllm/base/error.h"
#include "cllm/model/generator.h"
#include "cllm/model/initialize.h"
#include "cllm/model/merge.h"
#include "cllm/model/model.h"
#include "support/compare.h"
#include "support/error_of.h"
#include "support/example.h"
#include "support/flat_sink.h"
#include "support/reference_model.h"
#include "support/tolerance.h"
#include "support/variants.h"

namespace cllm::model {
namespace {

constexpr ModelConfig kShape{
    .layers = 2, .heads = 4, .channels = 32, .context = 16, .vocabulary = 29, .kv_heads = 2};

std::vector<support::Variant> adapted() {
  std::vector<support::Variant> variants;
  for (const support::Variant& family : support::all_families(kShape)) {
    variants.push_back({family.name + "_all", support::with_lora(family.config, 3, 7)});
    variants.push_back(
        {family.name + "_some", support::with_lora(family.config, 2, 1, "k_proj,v_proj,c_fc")});
  }
  return variants;
}

TEST(Lora, WordsMeanMatrices) {
  const auto text = [](const char* words, bool has_gates) {
    return text_of(projections_of(words, has_gates));
  };
  EXPECT_EQ(text("all", true), "q_proj,k_proj,v_proj,o_proj,gate_proj,up_proj,down_proj");
  EXPECT_EQ(text("all", false), "q_proj,k_proj,v_proj,o_proj,up_proj,down_proj");
  EXPECT_EQ(text("attention", true), "q_proj,k_proj,v_proj,o_proj");
  EXPECT_EQ(text("mlp,q_proj", true), "q_proj,gate_proj,up_proj,down_proj");
  EXPECT_EQ(text("v_proj,q_proj,v_proj", false), "q_proj,v_proj");
  EXPECT_EQ(text("c_attn", false), "q_proj,k_proj,v_proj");
  EXPECT_EQ(text("c_proj,fc1", false), "o_proj,up_proj,down_proj");
  for (const char* words : {"", "q", "all,", "q_proj v_proj", "lm_head"}) {
    EXPECT_THROW(projections_of(words, true), Error) << words;
  }
  EXPECT_THROW(projections_of("gate_proj", false), Error);
}

TEST(Lora, WhatMakesNoSenseIsRefused) {
  const ModelConfig llama = support::of_family(kShape, "llama");
  const auto refused = [](const ModelConfig& config) {
    return support::error_of([&] { validate(config); });
  };
  EXPECT_EQ(refused(support::with_lora(llama, 33, 7)),
            "--lora-rank 33: give a number from 1 to 32");
  EXPECT_NE(refused(support::with_lora(llama, 3, 0)), "");
  EXPECT_NE(refused(support::with_lora(llama, 3, INFINITY)), "");
  ModelConfig none = llama;
  none.lora = {3, 7, {}};
  EXPECT_NE(refused(none), "");
  ModelConfig gates = kShape;
  gates.lora = {3, 7, projections_of("gate_proj", true)};
  EXPECT_NE(refused(gates), "");
}

TEST(Lora, AdaptersAreTensorsLikeOthers) {
  const Layout layout(support::with_lora(support::of_family(kShape, "llama"), 3, 7));
  std::vector<std::string> names;
  for (const Tensor& tensor : layout.tensors()) {
    if (!tensor.is_adapter || !tensor.name.starts_with("h.1.")) continue;
    names.push_back(fmt::format("{} {}x{}", tensor.name, tensor.rows, tensor.columns));
    EXPECT_EQ(tensor.role, Role::kHidden);
  }
  EXPECT_EQ(names, (std::vector<std::string>{
                       "h.1.attn.q_proj.lora_A 3x32", "h.1.attn.q_proj.lora_B 32x3",
                       "h.1.attn.k_proj.lora_A 3x32", "h.1.attn.k_proj.lora_B 16x3",
                       "h.1.attn.v_proj.lora_A 3x32", "h.1.attn.v_proj.lora_B 16x3",
                       "h.1.attn.o_proj.lora_A 3x32", "h.1.attn.o_proj.lora_B 32x3",
                       "h.1.mlp.gate_proj.lora_A 3x32", "h.1.mlp.gate_proj.lora_B 96x3",
                       "h.1.mlp.up_proj.lora_A 3x32", "h.1.mlp.up_proj.lora_B 96x3",
                       "h.1.mlp.down_proj.lora_A 3x96", "h.1.mlp.down_proj.lora_B 32x3"}));
  EXPECT_EQ(layout.adapters_of(layout.layer(1).c_attn_weight).size(), 3u);
  EXPECT_EQ(layout.adapters_of(layout.layer(0).c_fc_weight)[1].first_row, 96u);
  EXPECT_EQ(layout.adapters_of(layout.embedding().front().tensor).size(), 0u);
}

TEST(Lora, TheFrozenBaseIsAFlatBufferOfItsOwn) {
  for (const support::Variant& variant : adapted()) {
    SCOPED_TRACE(variant.name);
    const Layout layout(variant.config, Freeze("base"));
    const Layout base(without_adapters(variant.config));
    std::vector<float> parameters(layout.flat_size());
    const std::span<float> of_base = base_of(layout, parameters);
    EXPECT_EQ(of_base.size(), base.flat_size());
    for (const Tensor& tensor : base.tensors()) {
      const auto same = std::ranges::find(layout.tensors(), tensor.name, &Tensor::name);
      ASSERT_NE(same, layout.tensors().end());
      EXPECT_FALSE(same->is_trained);
      EXPECT_EQ(parameters.data() + same->offset, of_base.data() + tensor.offset) << tensor.name;
    }
    EXPECT_EQ(layout.trained_count() + base.parameter_count(), layout.parameter_count());
  }
}

TEST(Lora, BeginsAsTheModelIsWithoutThem) {
  for (const support::Variant& variant : adapted()) {
    SCOPED_TRACE(variant.name);
    const support::Example e = support::make_example(without_adapters(variant.config), 2, 13, 5);
    const Model base(e.layout.config(), kernels::select_kernels());
    const Model model(variant.config, kernels::select_kernels(), Freeze("base"));
    std::vector<float> parameters(model.layout().flat_size(), 9.0f);
    std::ranges::copy(e.parameters, base_of(model.layout(), parameters).begin());
    initialize_adapters(model.layout(), 1, parameters, 2);
    const auto loss_of = [&](const Model& of, std::span<const float> values) {
      Workspace workspace(of.network(), {2, 13, 26}, Purpose::kEvaluation);
      Scratch scratch(model.layout().config(), 0);
      return of.loss(values.data(), {e.inputs.data(), e.targets.data(), 2, 13}, workspace, scratch);
    };
    EXPECT_EQ(loss_of(model, parameters), loss_of(base, e.parameters));
    double squares = 0;
    std::size_t count = 0;
    for (const Tensor& tensor : model.layout().tensors()) {
      if (tensor.initial != Initial::kAdapter) continue;
      const double bound = 1 / std::sqrt(static_cast<double>(tensor.columns));
      for (std::size_t i = 0; i < tensor.size(); ++i, ++count) {
        const double share = static_cast<double>(parameters[tensor.offset + i]) / bound;
        EXPECT_LE(std::abs(share), 1);
        squares += share * share;
      }
    }
    // Uniform within the bound.
    EXPECT_NEAR(squares / static_cast<double>(count), 1.0 / 3, 0.05);
    EXPECT_TRUE(std::ranges::equal(base_of(model.layout(), parameters), e.parameters));
  }
}

// In double the merged model is the same but for one rounding of each weight to float.
TEST(Lora, MergedTheModelGivesTheSameLogits) {
  for (const support::Variant& variant : adapted()) {
    SCOPED_TRACE(variant.name);
    const support::Example e = support::make_example(variant.config, 1, 13, 4);
    support::Example merged = support::make_example(without_adapters(variant.config), 1, 13, 4);
    merged.inputs = e.inputs;
    merge(e.layout, e.parameters, merged.layout, merged.parameters);
    const support::BatchShape shape{1, 13};
    const auto logits_of = [&](const support::Example& of) {
      return support::reference_logits<double>(of.layout, of.exact_parameters(), e.inputs, shape);
    };
    const support::Matrix<double> expected = logits_of(e), got = logits_of(merged);
    // A parameter moved by at most half a unit moves a row of logits by kappa times that.
    const double tolerance = 2 * support::logits_condition(merged) * support::kFloatRoundoff;
    EXPECT_TRUE(support::logits_agree<double>(got.values, expected, tolerance));
    // Without the adapters it is another model.
    support::Example bare = merged;
    bare.parameters = support::make_example(merged.layout.config(), 1, 13, 4).parameters;
    EXPECT_FALSE(support::logits_agree<double>(logits_of(bare).values, expected, tolerance));
    // And as it is computed: unmerged, merged, and generated token by token.
    const double computed = support::logits_tolerance(e, support::kFloatRoundoff);
    const Model with(variant.config, kernels::select_kernels());
    const Model without(merged.layout.config(), kernels::select_kernels());
    Generator unmerged(with, e.parameters), together(without, merged.parameters);
    const support::Matrix<double> last = support::rows_of(expected, {12});
    std::span<const float> stepwise;
    for (const std::uint32_t& token : e.inputs) stepwise = unmerged.advance({&token, 1});
    EXPECT_TRUE(support::logits_agree(stepwise, last, computed));
    EXPECT_TRUE(support::logits_agree(together.advance(e.inputs), last, computed));
  }
}

TEST(Lora, MergingKeepsWhatHasNoAdapter) {
  const ModelConfig config =
      support::with_lora(support::of_family(kShape, "llama"), 2, 1, "q_proj");
  const support::Example e = support::make_example(config, 1, 3, 4);
  const Layout base(without_adapters(config));
  // Into a model with other adapters, which stay as they are.
  const Layout other(support::with_lora(base.config(), 5, 1, "mlp"), Freeze("base"));
  std::vector<float> merged(base.flat_size()), into(other.flat_size(), 3.0f);
  merge(e.layout, e.parameters, base, merged);
  merge(e.layout, e.parameters, other, into);
  EXPECT_TRUE(std::ranges::equal(base_of(other, into), merged));
  for (const Tensor& tensor : other.tensors()) {
    if (!tensor.is_adapter) continue;
    EXPECT_EQ(into[tensor.offset], 3.0f) << tensor.name;
  }
  for (const Tensor& tensor : base.tensors()) {
    const auto from = std::ranges::find(e.layout.tensors(), tensor.name, &Tensor::name);
    std::size_t changed = 0;
    for (std::size_t i = 0; i < tensor.size(); ++i) {
      changed += merged[tensor.offset + i] != e.parameters[from->offset + i];
    }
    if (tensor.name.ends_with("c_attn.weight")) {
      // The rows of queries, and no others.
      EXPECT_GT(changed, 32u * 32u / 2);
      EXPECT_EQ(merged[tensor.offset + 32 * 32], e.parameters[from->offset + 32 * 32]);
      EXPECT_LE(changed, 32u * 32u);
    } else {
      EXPECT_EQ(changed, 0u) << tensor.name;
    }
  }
}

}  // namespace
}  // namespace cllm::model
