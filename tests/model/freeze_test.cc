#include "cllm/model/freeze.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "cllm/base/error.h"
#include "cllm/model/gradient.h"
#include "cllm/model/model.h"
#include "cllm/model/places.h"
#include "support/error_of.h"
#include "support/example.h"
#include "support/flat_sink.h"
#include "support/variants.h"

namespace cllm::model {
namespace {

constexpr ModelConfig kShape{
    .layers = 3, .heads = 2, .channels = 16, .context = 16, .vocabulary = 29};

std::set<std::string> frozen_names(const ModelConfig& config, const char* words) {
  std::set<std::string> names;
  const Layout layout(config, Freeze{words});
  for (const Tensor& tensor : layout.tensors()) {
    if (!tensor.is_trained) names.insert(tensor.name);
  }
  return names;
}

TEST(Freeze, WordsMeanTensors) {
  using Names = std::set<std::string>;
  ModelConfig one = support::of_family(kShape, "qwen3");
  one.layers = 2;
  one.parts.tied = false;
  EXPECT_EQ(frozen_names(one, "embeddings"), Names{"wte.weight"});
  EXPECT_EQ(frozen_names(one, "head"), Names{"lm_head.weight"});
  EXPECT_EQ(frozen_names(one, "layers:1"),
            (Names{"h.1.attn.c_attn.weight", "h.1.attn.c_proj.weight", "h.1.attn.k_norm.weight",
                   "h.1.attn.q_norm.weight", "h.1.ln_1.weight", "h.1.ln_2.weight",
                   "h.1.mlp.c_fc.weight", "h.1.mlp.c_proj.weight"}));
  EXPECT_EQ(frozen_names(one, "mlp,head"),
            (Names{"h.0.mlp.c_fc.weight", "h.0.mlp.c_proj.weight", "h.1.mlp.c_fc.weight",
                   "h.1.mlp.c_proj.weight", "lm_head.weight"}));
  EXPECT_EQ(frozen_names(one, "norms"),
            (Names{"h.0.attn.k_norm.weight", "h.0.attn.q_norm.weight", "h.0.ln_1.weight",
                   "h.0.ln_2.weight", "h.1.attn.k_norm.weight", "h.1.attn.q_norm.weight",
                   "h.1.ln_1.weight", "h.1.ln_2.weight", "ln_f.weight"}));
  ModelConfig gpt2 = kShape;
  gpt2.layers = 1;
  EXPECT_EQ(frozen_names(gpt2, "embeddings"), (Names{"wte.weight", "wpe.weight"}));
  EXPECT_EQ(frozen_names(gpt2, "biases"), (Names{"h.0.attn.c_attn.bias", "h.0.attn.c_proj.bias",
                                                 "h.0.mlp.c_fc.bias", "h.0.mlp.c_proj.bias"}));
  EXPECT_EQ(frozen_names(gpt2, "attention"),
            (Names{"h.0.attn.c_attn.bias", "h.0.attn.c_attn.weight", "h.0.attn.c_proj.bias",
                   "h.0.attn.c_proj.weight"}));
  EXPECT_EQ(frozen_names(kShape, "layers:0-1").size(), 24u);
  EXPECT_TRUE(frozen_names(kShape, "none").empty());
  EXPECT_TRUE(Freeze(Freeze("none").text()).is_empty());
  EXPECT_EQ(Freeze("mlp,layers:0-1,mlp").text(), "mlp,layers:0-1");
}

TEST(Freeze, WhatMakesNoSenseIsRefused) {
  for (const char* words : {",", "layer:0", "layers:", "layers:2-1", "layers:-1", "layers:0-",
                            "layers:x", "embeddings,", "none,mlp", "heads"}) {
    EXPECT_THROW(Freeze{words}, Error) << words;
  }
  const auto refused = [](const char* words) {
    return support::error_of([&] { Layout(kShape, Freeze(words)); });
  };
  EXPECT_EQ(refused("layers:1-3"),
            "--freeze layers:1-3: the model has layers 0 to 2; give some of these");
  EXPECT_EQ(refused("head"), "--freeze head: the model has no such tensors; leave the word out");
  EXPECT_EQ(refused("embeddings,layers:0-2,norms"),
            "--freeze embeddings,layers:0-2,norms: nothing would be left to train; give fewer "
            "words");
}

TEST(Freeze, FrozenTensorsLieBehindAllOthersAndHaveNoTiles) {
  for (const support::Variant& variant : support::all_variants(kShape)) {
    SCOPED_TRACE(variant.name);
    const Layout whole(variant.config), layout(variant.config, Freeze("embeddings,layers:1"));
    const Tiling tiling(layout);
    const Places state(layout, every_role), all(layout);
    EXPECT_EQ(layout.flat_size(), whole.flat_size());
    EXPECT_EQ(all.size(), layout.flat_size());
    EXPECT_EQ(state.size(), layout.trained_size());
    EXPECT_LT(layout.trained_count(), layout.parameter_count());
    for (std::size_t i = 0; i < layout.tensors().size(); ++i) {
      const Tensor& tensor = layout[i];
      EXPECT_EQ(tensor.offset < layout.trained_size(), tensor.is_trained) << tensor.name;
      EXPECT_EQ(tiling.first_of(i) < tiling.end_of(i), tensor.is_trained) << tensor.name;
      EXPECT_EQ(state[i].has_value(), tensor.is_trained) << tensor.name;
    }
    std::size_t end = layout.groups().front().offset;
    for (const Group& group : layout.groups()) {
      EXPECT_EQ(group.offset, end);
      end += group.size;
    }
    EXPECT_EQ(end, layout.trained_size());
  }
}

/// Copies the tensors of a flat buffer of one layout to where another has them.
std::vector<float> moved(const Layout& from, std::span<const float> values, const Layout& to) {
  std::vector<float> result(to.flat_size());
  for (std::size_t i = 0; i < from.tensors().size(); ++i) {
    std::copy_n(values.data() + from[i].offset, from[i].size(), result.data() + to[i].offset);
  }
  return result;
}

/// The loss and gradient of an example on a team, as a flat buffer of the whole model's layout.
std::vector<float> gradient_of(const support::Example& e, const Freeze& freeze, int team) {
  const Model model(e.layout.config(), kernels::select_kernels(), freeze);
  const std::size_t rows = e.sequences * e.positions;
  support::TrainingRoom room(model, {e.sequences, e.positions, (rows + 3) / 4}, team);
  const std::vector<float> parameters = moved(e.layout, e.parameters, model.layout());
  std::vector<float> gradient, result;
  // Twice, so that what a micro-batch leaves behind would be seen.
  for (int i = 0; i < 2; ++i) {
    gradient.assign(model.layout().flat_size(), 0.0f);
    const double loss = room.loss_and_gradient(
        parameters.data(), {e.inputs.data(), e.targets.data(), e.sequences, e.positions}, 1.0f,
        gradient.data());
    result.assign(1, static_cast<float>(loss));
  }
  const std::vector<float> whole = moved(model.layout(), gradient, e.layout);
  result.insert(result.end(), whole.begin(), whole.end());
  return result;
}

struct Case {
  support::Variant variant;
  std::string words;
};

std::vector<Case> cases() {
  std::vector<Case> cases;
  for (const support::Variant& variant : support::all_variants(kShape)) {
    // Backward ends at each place where it can.
    for (const char* words :
         {"embeddings", "layers:0-1", "embeddings,layers:0", "embeddings,layers:0-2",
          "embeddings,layers:0-1,attention", "embeddings,attention", "embeddings,mlp,norms",
          "embeddings,layers:0-1,norms", "biases,norms", "head,embeddings", "mlp",
          "layers:0-2,norms"}) {
      try {
        Layout(variant.config, Freeze(words));
        cases.push_back({variant, words});
      } catch (const Error&) {  // it has no such tensors, or no others
      }
    }
  }
  return cases;
}

// The reference is the gradient of the whole model, which fast_model_test.cc proves.
TEST(Freeze, GradientsOfTheOthersHaveTheSameBitsAndThereAreNoMore) {
  std::size_t ended_early = 0;
  for (const auto& [variant, words] : cases()) {
    SCOPED_TRACE(variant.name + ", " + words);
    const support::Example e = support::make_example(variant.config, 2, 13, 5);
    const Freeze freeze(words);
    std::vector<float> expected = gradient_of(e, {}, 1);
    const Layout layout(variant.config, freeze);
    for (std::size_t i = 0; i < layout.tensors().size(); ++i) {
      if (layout[i].is_trained) continue;
      const auto begin = expected.begin() + 1 + static_cast<std::ptrdiff_t>(e.layout[i].offset);
      std::fill_n(begin, layout[i].size(), 0.0f);
    }
    ASSERT_EQ(gradient_of(e, freeze, 1), expected);
    // To take all of them on a team takes long where threads are more than processors.
    if (variant.name != variant.config.family) continue;
    ASSERT_EQ(gradient_of(e, freeze, 3), expected);
    ended_early += Model(variant.config, kernels::select_kernels(), freeze).network().first_back;
  }
  EXPECT_GT(ended_early, 0u);
}

TEST(Freeze, BackwardGoesNoFurtherThanItMust) {
  const auto first_back = [](const char* words) {
    const ModelConfig config = support::of_family(kShape, "nanochat");
    const Model model(config, kernels::select_kernels(), Freeze(words));
    return std::pair(model.network().first_back, model.network().trains_embedding);
  };
  EXPECT_EQ(first_back("layers:0-1"), std::pair(std::size_t{0}, true));
  EXPECT_EQ(first_back("embeddings"), std::pair(std::size_t{0}, false));
  EXPECT_EQ(first_back("embeddings,layers:0-1"), std::pair(std::size_t{2}, false));
  EXPECT_EQ(first_back("embeddings,layers:0-2"), std::pair(std::size_t{3}, false));
}

TEST(Freeze, WhatIsNotGoneBackThroughIsNotKept) {
  for (const support::Variant& family : support::all_families(kShape)) {
    const auto bytes = [&](const Freeze& freeze) {
      const Layout layout(family.config, freeze);
      return Workspace::bytes_for(Network(layout), {2, 16, 32}, Purpose::kTraining);
    };
    const std::size_t all = bytes({}), half = bytes(Freeze("embeddings,layers:0-1"));
    EXPECT_LT(half, all) << family.name;
    EXPECT_EQ(bytes(Freeze("layers:0-1")), all) << family.name;
  }
}

}  // namespace
}  // namespace cllm::model
