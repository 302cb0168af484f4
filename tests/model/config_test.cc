#include "cllm/model/config.h"
#include "cllm/model/families.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <set>
#include <string>
#include <vector>

#include "cllm/base/error.h"
#include "cllm/model/gradient.h"
#include "cllm/model/initialize.h"
#include "cllm/model/layout.h"
#include "cllm/model/places.h"
#include "support/by_place.h"

namespace cllm::model {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

TEST(Config, ErrorsNameTheOption) {
  const ModelConfig good{.vocabulary = 10};
  EXPECT_NO_THROW(validate(good));
  const auto expect = [&](auto change, const char* option) {
    ModelConfig bad = good;
    change(bad);
    EXPECT_THAT([&] { validate(bad); }, ThrowsMessage<Error>(HasSubstr(option)));
  };
  expect([](ModelConfig& c) { c.layers = 0; }, "--layers 0");
  expect([](ModelConfig& c) { c.heads = 0; }, "--heads 0");
  expect([](ModelConfig& c) { c.heads = 5; }, "--heads 5");
  expect([](ModelConfig& c) { c.channels = 0; }, "--channels 0");
  expect([](ModelConfig& c) { c.context = 0; }, "--context 0");
  expect([](ModelConfig& c) { c.vocabulary = 0; }, "--tokenizer");
  expect([](ModelConfig& c) { c.channels = std::size_t{1} << 40; }, "--channels");
}

TEST(Config, PresetsAreFoundByName) {
  for (const Preset& preset : presets()) EXPECT_EQ(find_preset(preset.name).shape, preset.shape);
  EXPECT_THAT([] { find_preset("gpt3"); }, ThrowsMessage<Error>(HasSubstr("gpt2-124m")));
}

// 124,439,808 is what OpenAI's file of the model holds, 163,037,184 would be with an untied head.
TEST(Layout, CountsTheParametersOfGpt2) {
  ModelConfig config = find_preset("gpt2-124m").shape;
  config.vocabulary = 50257;
  EXPECT_EQ(Layout(config).parameter_count(), 124439808u);
  config = find_preset("gpt2-355m").shape;
  config.vocabulary = 50257;
  EXPECT_EQ(Layout(config).parameter_count(), 354823168u);
}

TEST(Layout, TensorsAreAlignedAndApart) {
  const Layout layout({.layers = 3, .heads = 1, .channels = 5, .context = 7, .vocabulary = 11});
  std::set<std::string> names;
  std::size_t end = 0;
  for (const Tensor& tensor : support::by_place(layout)) {
    EXPECT_EQ(tensor.offset % 16, 0u);
    EXPECT_GE(tensor.offset, end);
    end = tensor.offset + tensor.size();
    EXPECT_TRUE(names.insert(tensor.name).second) << tensor.name;
  }
  EXPECT_LE(end, layout.flat_size());
  EXPECT_EQ(layout[layout.embedding()].name, "wte.weight");
  EXPECT_EQ(layout[*layout.wpe()].name, "wpe.weight");
  EXPECT_EQ(layout[*layout.ln_f().gain].name, "ln_f.weight");
  EXPECT_EQ(layout[*layout.ln_f().shift].name, "ln_f.bias");
  EXPECT_EQ(layout[layout.layer(2).mlp_proj_weight].name, "h.2.mlp.c_proj.weight");
}

TEST(Layout, TensorsHaveRoles) {
  const Layout layout({.layers = 2,
                       .heads = 1,
                       .channels = 6,
                       .context = 7,
                       .vocabulary = 11,
                       .embedding_rank = 3});
  for (const Tensor& tensor : layout.tensors()) {
    const bool of_embedding = tensor.name.starts_with("w");
    const Role matrix = of_embedding ? Role::kEmbedding : Role::kHidden;
    EXPECT_EQ(tensor.role, tensor.columns > 1 ? matrix : Role::kVector) << tensor.name;
  }
}

TEST(Places, AreTheLayoutsForAllTensorsAndWithoutGapsForSome) {
  const Layout layout({.layers = 3, .heads = 1, .channels = 5, .context = 7, .vocabulary = 11});
  const Places all(layout, every_role);
  EXPECT_EQ(all.size(), layout.flat_size());
  const Places hidden(layout, [](Role role) { return role == Role::kHidden; });
  std::size_t size = 0;
  std::set<std::size_t> places;
  for (std::size_t i = 0; i < layout.tensors().size(); ++i) {
    EXPECT_EQ(all[i], layout[i].offset);
    ASSERT_EQ(hidden[i].has_value(), layout[i].role == Role::kHidden) << layout[i].name;
    if (!hidden[i]) continue;
    EXPECT_EQ(*hidden[i] % 16, 0u);
    EXPECT_TRUE(places.insert(*hidden[i]).second);
    size += (layout[i].size() + 15) / 16 * 16;
  }
  EXPECT_EQ(hidden.size(), size);
}

TEST(Layout, GroupsFollowEachOtherAndHoldEveryTensor) {
  const Layout layout({.layers = 3, .heads = 1, .channels = 5, .context = 7, .vocabulary = 11});
  std::vector<std::string> names;
  std::size_t end = 0;
  for (const Group& group : layout.groups()) {
    names.push_back(group.name);
    EXPECT_EQ(group.offset, end);
    end += group.size;
  }
  EXPECT_EQ(end, layout.flat_size());
  EXPECT_EQ(names, (std::vector<std::string>{"head", "h.2", "h.1", "h.0", "embeddings"}));
  const auto group_of = [&](std::size_t tensor) {
    const auto after =
        std::ranges::upper_bound(layout.groups(), layout[tensor].offset, {}, &Group::offset);
    return std::prev(after)->name;
  };
  EXPECT_EQ(group_of(layout.embedding()), "head");
  EXPECT_EQ(group_of(*layout.ln_f().shift), "head");
  EXPECT_EQ(group_of(*layout.layer(2).ln_1.gain), "h.2");
  EXPECT_EQ(group_of(*layout.layer(0).mlp_proj_bias), "h.0");
  EXPECT_EQ(group_of(*layout.wpe()), "embeddings");
}

TEST(Layout, AFactorisedEmbeddingIsCodesAndABasis) {
  const Layout layout({.layers = 2,
                       .heads = 1,
                       .channels = 5,
                       .context = 7,
                       .vocabulary = 11,
                       .embedding_rank = 3});
  const Layout dense({.layers = 2, .heads = 1, .channels = 5, .context = 7, .vocabulary = 11});
  const Tensor& codes = layout[layout.embedding()];
  const Tensor& basis = layout[layout.embedding_basis()];
  EXPECT_EQ(codes.name, "wte.codes");
  EXPECT_EQ(codes.rows, 11u);
  EXPECT_EQ(codes.columns, 3u);
  EXPECT_EQ(basis.name, "wte.basis");
  EXPECT_EQ(basis.rows, 3u);
  EXPECT_EQ(basis.columns, 5u);
  EXPECT_EQ(layout[*layout.wpe()].name, "wpe.weight");
  EXPECT_EQ(layout.parameter_count(), dense.parameter_count() - 11 * 5 + 11 * 3 + 3 * 5);
  // The basis has its gradient when the inputs have theirs, the codes' dense part long before.
  EXPECT_LT(codes.offset, layout.groups()[1].offset);
  EXPECT_GE(basis.offset, layout.groups().back().offset);
  EXPECT_LT(layout[layout.layer(1).c_attn_weight].offset, basis.offset);
}

// Every element of every tensor is in one tile.
TEST(Tiling, CoversEveryTensorOnce) {
  for (const ModelConfig& config :
       {ModelConfig{.layers = 1, .heads = 1, .channels = 5, .context = 7, .vocabulary = 11},
        ModelConfig{.layers = 1, .heads = 2, .channels = 800, .context = 40, .vocabulary = 1000}}) {
    const Layout layout(config);
    const Tiling tiling(layout);
    for (std::size_t index = 0; index < layout.tensors().size(); ++index) {
      const Tensor& tensor = layout[index];
      const std::size_t columns = tensor.is_matrix() ? tensor.columns : tensor.size();
      std::vector<int> covered(tensor.size());
      for (std::size_t i = tiling.first_of(index); i < tiling.end_of(index); ++i) {
        const Tile& tile = tiling[i];
        EXPECT_EQ(tile.tensor, index);
        EXPECT_LE(tile.size(), tiling.largest());
        for (std::size_t row = tile.row; row < tile.row + tile.rows; ++row) {
          for (std::size_t c = tile.column; c < tile.column + tile.columns; ++c) {
            ++covered[row * columns + c];
          }
        }
      }
      EXPECT_EQ(std::ranges::count(covered, 1), std::ssize(covered)) << tensor.name;
    }
  }
}

TEST(Initialize, GivesEachTensorItsDistribution) {
  const Layout layout(
      {.layers = 2, .heads = 2, .channels = 64, .context = 128, .vocabulary = 2000});
  std::vector<float> parameters(layout.flat_size(), 9.0f);
  initialize(layout, 1, parameters, 2);
  for (const Tensor& tensor : layout.tensors()) {
    const auto n = static_cast<double>(tensor.size());
    double sum = 0, squares = 0;
    for (std::size_t i = 0; i < tensor.size(); ++i) {
      const auto x = static_cast<double>(parameters[tensor.offset + i]);
      sum += x;
      squares += x * x;
    }
    double deviation = 0, mean = 0;
    if (tensor.initial == Initial::kOne) mean = 1;
    if (tensor.initial == Initial::kNormal) deviation = 0.02;
    if (tensor.initial == Initial::kResidualNormal) deviation = 0.02 / 2;
    // Five standard errors of the mean and of the variance.
    EXPECT_NEAR(sum / n, mean, 5 * deviation / std::sqrt(n)) << tensor.name;
    EXPECT_NEAR(squares / n - mean, deviation * deviation,
                5 * deviation * deviation * std::sqrt(2 / n))
        << tensor.name;
  }
  std::vector<float> again(layout.flat_size()), other(layout.flat_size());
  initialize(layout, 1, again, 2);
  initialize(layout, 2, other, 2);
  EXPECT_EQ(parameters, again);
  EXPECT_NE(parameters, other);
}

}  // namespace
}  // namespace cllm::model
