#include "cllm/model/config.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <numeric>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cllm/base/error.h"
#include "cllm/model/families.h"
#include "cllm/model/gradient.h"
#include "cllm/model/initialize.h"
#include "cllm/model/layout.h"
#include "cllm/model/places.h"
#include "support/by_place.h"
#include "support/error_of.h"
#include "support/variants.h"

namespace cllm::model {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

std::string message_of(const ModelConfig& config) {
  return support::error_of([&] { validate(config); });
}

TEST(Config, ErrorsNameTheOption) {
  const ModelConfig good{.vocabulary = 10};
  EXPECT_NO_THROW(validate(good));
  const auto expect = [&](auto change, const char* option) {
    ModelConfig bad = good;
    change(bad);
    EXPECT_THAT(message_of(bad), HasSubstr(option));
  };
  expect([](ModelConfig& c) { c.layers = 0; }, "--layers 0");
  expect([](ModelConfig& c) { c.heads = 0; }, "--heads 0");
  expect([](ModelConfig& c) { c.heads = 5; }, "--heads 5");
  expect([](ModelConfig& c) { c.channels = 0; }, "--channels 0");
  expect([](ModelConfig& c) { c.context = 0; }, "--context 0");
  expect([](ModelConfig& c) { c.vocabulary = 0; }, "--tokenizer");
  expect([](ModelConfig& c) { c.channels = std::size_t{1} << 40; }, "--channels");
}

TEST(Config, ErrorsOfPartsAreASentence) {
  const ModelConfig good =
      support::of_family({.layers = 2, .heads = 4, .channels = 32, .vocabulary = 10}, "qwen3");
  EXPECT_NO_THROW(validate(good));
  const auto expect = [&](auto change, const char* message) {
    ModelConfig bad = good;
    change(bad);
    EXPECT_EQ(message_of(bad), message);
  };
  expect([](ModelConfig& c) { c.family = "gpt3"; },
         "--family gpt3: there is no such family; the families are gpt2, llama, qwen3, nanochat");
  expect([](ModelConfig& c) { c.kv_heads = 3; },
         "--kv-heads 3 does not divide --heads 4; give a divisor");
  expect([](ModelConfig& c) { c.kv_heads = 8; }, "--kv-heads 8: give a number from 1 to 4");
  expect([](ModelConfig& c) { c.head_size = 7; },
         "--positions rotary turns pairs of numbers, and heads have 7; give an even --head-size");
  expect([](ModelConfig& c) { c.head_size = 1'000'000; },
         "--head-size 1000000: with 4 heads give at most 250000");
  expect([](ModelConfig& c) { c.mlp_width = 20'000'000; },
         "--mlp-width 20000000: give a number from 1 to 10000000");
  expect([](ModelConfig& c) { c.context = std::size_t{1} << 26; },
         "--context 67108864: with --positions rotary and heads of 8 give at most 33554432");
  expect([](ModelConfig& c) { c.parts.norm_epsilon = 0; },
         "--norm-epsilon 0: give a number between 0 and 1");
  expect([](ModelConfig& c) { c.parts.norm_epsilon = std::nan(""); },
         "--norm-epsilon nan: give a number between 0 and 1");
  expect([](ModelConfig& c) { c.parts.norm = NormKind::kLayer; },
         "--norm-epsilon 1e-06: layer norm has 1e-05; leave it out, or give --norm rms");
  expect([](ModelConfig& c) { c.parts.rope_theta = 1; },
         "--rope-theta 1: give a number above 1, such as 10000");
  expect([](ModelConfig& c) { c.parts.rope_theta = HUGE_VAL; },
         "--rope-theta inf: give a number above 1, such as 10000");
  expect([](ModelConfig& c) { c.parts.softcap = -1; },
         "--softcap -1: give a number above 0, such as 15, or 0 for none");
  expect(
      [](ModelConfig& c) {
        c.bands = bands_of("2:4,rest:2");
        c.embedding_rank = 8;
      },
      "--embedding-rank 8: --embedding-bands has a rank for each band; leave one of them out");
}

TEST(Config, AHeadSizeOfItsOwnNeedNotDivideTheChannels) {
  ModelConfig config{.heads = 3, .channels = 32, .vocabulary = 10};
  EXPECT_THAT(message_of(config), HasSubstr("--heads 3"));
  config.head_size = 10;
  EXPECT_NO_THROW(validate(config));
}

TEST(Config, UsualSizesTakeThePlaceOfNothing) {
  ModelConfig config{.heads = 4, .channels = 288, .vocabulary = 10};
  const ModelConfig usual = with_usual_sizes(config);
  EXPECT_EQ(usual.kv_heads, 4U);
  EXPECT_EQ(usual.head_size, 72U);
  EXPECT_EQ(usual.mlp_width, 4U * 288);
  EXPECT_EQ(config, usual);
  config.parts.mlp = MlpKind::kSwiglu;
  EXPECT_EQ(with_usual_sizes(config).mlp_width, 768U);
  EXPECT_NE(config, usual);
}

TEST(Config, PresetsAreFoundByName) {
  for (const Preset& preset : presets()) {
    EXPECT_EQ(find_preset(preset.name).shape, preset.shape);
    EXPECT_EQ(preset.shape.family, find_family(preset.shape.family).name);
    ModelConfig config = preset.shape;
    config.vocabulary = 100;
    EXPECT_NO_THROW(validate(config)) << preset.name;
  }
  EXPECT_THAT([] { find_preset("gpt3"); }, ThrowsMessage<Error>(HasSubstr("gpt2-124m")));
}

// What the files of these models hold. 163,037,184 would be GPT-2 with an untied head; those of
// llama2.c are called 15M, 42M and 110M.
TEST(Layout, CountsTheParametersOfPublishedModels) {
  struct Published {
    const char* preset;
    std::size_t vocabulary, parameters;
  };
  for (const Published& model : {Published{"gpt2-124m", 50257, 124'439'808},
                                 {"gpt2-355m", 50257, 354'823'168},
                                 {"llama-15m", 32000, 15'191'712},
                                 {"llama-42m", 32000, 41'689'600},
                                 {"llama-110m", 32000, 109'529'856},
                                 {"smollm-135m", 49152, 134'515'008},
                                 {"smollm-360m", 49152, 361'821'120},
                                 {"qwen3-0.6b", 151936, 596'049'920}}) {
    ModelConfig config = find_preset(model.preset).shape;
    config.vocabulary = model.vocabulary;
    EXPECT_EQ(Layout(config).parameter_count(), model.parameters) << model.preset;
  }
}

/// "NAME (ROWS, COLUMNS)" of each tensor, in the layout's order, but for layers above the first.
std::vector<std::string> tensors_of(std::string_view family) {
  const ModelConfig shape{.layers = 2,
                          .heads = 4,
                          .channels = 20,
                          .context = 7,
                          .vocabulary = 11,
                          .kv_heads = 2,
                          .head_size = 6,
                          .mlp_width = 9};
  std::vector<std::string> tensors;
  const Layout layout(support::of_family(shape, family));
  for (const Tensor& tensor : layout.tensors()) {
    if (tensor.name.starts_with("h.1.")) continue;
    tensors.push_back(fmt::format("{} ({}, {})", tensor.name, tensor.rows, tensor.columns));
  }
  return tensors;
}

TEST(Layout, HasTheTensorsOfEachFamily) {
  using Names = std::vector<std::string>;
  EXPECT_EQ(tensors_of("gpt2"),
            (Names{"wte.weight (11, 20)", "wpe.weight (7, 20)", "h.0.ln_1.weight (20, 1)",
                   "h.0.ln_1.bias (20, 1)", "h.0.attn.c_attn.weight (48, 20)",
                   "h.0.attn.c_attn.bias (48, 1)", "h.0.attn.c_proj.weight (20, 24)",
                   "h.0.attn.c_proj.bias (20, 1)", "h.0.ln_2.weight (20, 1)",
                   "h.0.ln_2.bias (20, 1)", "h.0.mlp.c_fc.weight (9, 20)",
                   "h.0.mlp.c_fc.bias (9, 1)", "h.0.mlp.c_proj.weight (20, 9)",
                   "h.0.mlp.c_proj.bias (20, 1)", "ln_f.weight (20, 1)", "ln_f.bias (20, 1)"}));
  EXPECT_EQ(tensors_of("llama"),
            (Names{"wte.weight (11, 20)", "h.0.ln_1.weight (20, 1)",
                   "h.0.attn.c_attn.weight (48, 20)", "h.0.attn.c_proj.weight (20, 24)",
                   "h.0.ln_2.weight (20, 1)", "h.0.mlp.c_fc.weight (18, 20)",
                   "h.0.mlp.c_proj.weight (20, 9)", "ln_f.weight (20, 1)"}));
  EXPECT_EQ(tensors_of("qwen3"),
            (Names{"wte.weight (11, 20)", "h.0.ln_1.weight (20, 1)",
                   "h.0.attn.c_attn.weight (48, 20)", "h.0.attn.q_norm.weight (6, 1)",
                   "h.0.attn.k_norm.weight (6, 1)", "h.0.attn.c_proj.weight (20, 24)",
                   "h.0.ln_2.weight (20, 1)", "h.0.mlp.c_fc.weight (18, 20)",
                   "h.0.mlp.c_proj.weight (20, 9)", "ln_f.weight (20, 1)"}));
  EXPECT_EQ(tensors_of("nanochat"),
            (Names{"wte.weight (11, 20)", "h.0.attn.c_attn.weight (48, 20)",
                   "h.0.attn.c_proj.weight (20, 24)", "h.0.mlp.c_fc.weight (9, 20)",
                   "h.0.mlp.c_proj.weight (20, 9)", "lm_head.weight (11, 20)"}));
}

TEST(Layout, PiecesOfMatricesFillTheirRows) {
  for (const support::Variant& variant : support::all_variants(
           {.layers = 2, .heads = 4, .channels = 32, .vocabulary = 11, .kv_heads = 2})) {
    const Layout layout(variant.config);
    for (const Tensor& tensor : layout.tensors()) {
      if (tensor.pieces.empty()) continue;
      EXPECT_EQ(std::accumulate(tensor.pieces.begin(), tensor.pieces.end(), std::size_t{0}),
                tensor.rows)
          << variant.name << ", " << tensor.name;
    }
    EXPECT_EQ(layout[layout.layer(1).c_attn_weight].pieces.size(), 3U);
    EXPECT_EQ(layout[layout.layer(1).c_fc_weight].pieces.size(),
              variant.config.parts.mlp == MlpKind::kSwiglu ? 2U : 0U);
  }
}

// However a model is put together, each tensor has a place of its own in a group, but for a token
// table that isn't the output layer too: it stands in front of all groups.
TEST(Layout, GroupsOfAllVariantsHoldTheirTensors) {
  for (const support::Variant& variant :
       support::all_variants({.layers = 2, .heads = 2, .channels = 12, .vocabulary = 11})) {
    SCOPED_TRACE(variant.name);
    const Layout layout(variant.config);
    std::size_t end = layout.config().parts.tied ? 0 : layout.groups().front().offset;
    if (!layout.config().parts.tied) {
      EXPECT_EQ(layout[layout.embedding().front().tensor].offset, 0U);
      const Tensor& table = layout[layout.embedding().back().tensor];
      EXPECT_LE(table.offset + table.size(), end);
    }
    for (const Group& group : layout.groups()) {
      EXPECT_EQ(group.offset, end);
      end += group.size;
    }
    EXPECT_EQ(end, layout.flat_size());
    const auto expect_in = [&](std::size_t tensor, std::string_view name) {
      const auto holds = [&](const Group& group) {
        return layout[tensor].offset >= group.offset &&
               layout[tensor].offset + layout[tensor].size() <= group.offset + group.size;
      };
      const auto group = std::ranges::find_if(layout.groups(), holds);
      ASSERT_NE(group, layout.groups().end()) << layout[tensor].name;
      EXPECT_EQ(group->name, name) << layout[tensor].name;
    };
    for (const TableBand& band : layout.lm_head()) {
      expect_in(band.tensor, "head");
      if (band.basis) expect_in(*band.basis, layout.is_tied() ? "embeddings" : "head");
    }
    for (const TableBand& band : layout.embedding()) {
      if (band.basis) expect_in(*band.basis, "embeddings");
    }
    if (layout.ln_f().gain) expect_in(*layout.ln_f().gain, "head");
    if (layout.layer(1).q_norm) expect_in(*layout.layer(1).q_norm, "h.1");
    expect_in(layout.layer(0).c_fc_weight, "h.0");
    if (layout.embedding_norm().gain) expect_in(*layout.embedding_norm().gain, "embeddings");
    std::size_t last = 0;  // the end of the tensor before
    for (const Tensor& tensor : support::by_place(layout)) {
      EXPECT_GE(tensor.offset, last);
      EXPECT_EQ(tensor.offset % 16, 0U);
      last = tensor.offset + tensor.size();
    }
  }
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
  EXPECT_EQ(layout[layout.embedding().front().tensor].name, "wte.weight");
  EXPECT_EQ(layout[*layout.wpe()].name, "wpe.weight");
  EXPECT_EQ(layout[*layout.ln_f().gain].name, "ln_f.weight");
  EXPECT_EQ(layout[*layout.ln_f().shift].name, "ln_f.bias");
  EXPECT_EQ(layout[layout.layer(2).mlp_proj_weight].name, "h.2.mlp.c_proj.weight");
}

TEST(Layout, TensorsHaveRoles) {
  for (const support::Variant& variant : support::all_variants(
           {.layers = 2, .heads = 2, .channels = 12, .context = 7, .vocabulary = 11})) {
    const Layout layout(variant.config);
    for (const Tensor& tensor : layout.tensors()) {
      Role matrix = Role::kHidden;
      if (tensor.name.starts_with("w")) matrix = Role::kEmbedding;
      if (tensor.name.starts_with("lm_head.")) matrix = Role::kHead;
      // Codes may be of one number.
      const bool is_vector = tensor.columns == 1 && !tensor.name.ends_with(".codes");
      EXPECT_EQ(tensor.role, is_vector ? Role::kVector : matrix)
          << variant.name << ", " << tensor.name;
    }
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
  EXPECT_EQ(group_of(layout.embedding().front().tensor), "head");
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
  const Tensor& codes = layout[layout.embedding().front().tensor];
  const Tensor& basis = layout[*layout.embedding().front().basis];
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

/// What the elements of a tensor of this model are drawn with: mean and deviation.
std::pair<double, double> distribution_of(const Tensor& tensor, const ModelConfig& config) {
  constexpr double kDeviation = 0.02;
  switch (tensor.initial) {
    case Initial::kZero:
      return {0, 0};
    case Initial::kOne:
      return {1, 0};
    case Initial::kNormal:
      return {0, kDeviation};
    case Initial::kResidualNormal:
      return {0, kDeviation / std::sqrt(2.0 * static_cast<double>(config.layers))};
    case Initial::kUniform:
      return {0, 1 / std::sqrt(static_cast<double>(config.channels))};
    case Initial::kEmbedding:
      return {0, 2};
    case Initial::kCodes:
      return {
          0, (config.parts.tied ? kDeviation : 2) * std::sqrt(static_cast<double>(config.channels) /
                                                              static_cast<double>(tensor.columns))};
    case Initial::kAdapter:
      return {0, 1 / std::sqrt(3 * static_cast<double>(tensor.columns))};
    case Initial::kLeading:
      break;
    case Initial::kBasis:  // of rows of length 1
      return {0, 1 / std::sqrt(static_cast<double>(config.channels))};
  }
  return {};
}

TEST(Initialize, GivesEachTensorItsDistribution) {
  for (const support::Variant& variant : support::all_variants(
           {.layers = 2, .heads = 2, .channels = 64, .context = 128, .vocabulary = 2000})) {
    SCOPED_TRACE(variant.name);
    const Layout layout(variant.config);
    std::vector<float> parameters(layout.flat_size(), 9.0f);
    initialize(layout, 1, parameters, 2);
    for (const Tensor& tensor : layout.tensors()) {
      if (tensor.initial == Initial::kLeading) continue;  // isn't drawn
      const auto n = static_cast<double>(tensor.size());
      double sum = 0, squares = 0;
      for (std::size_t i = 0; i < tensor.size(); ++i) {
        const auto x = static_cast<double>(parameters[tensor.offset + i]);
        sum += x;
        squares += x * x;
      }
      const auto [mean, deviation] = distribution_of(tensor, layout.config());
      // Five standard errors of the mean and of the variance, as of normal elements, and rounding.
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
}

// The table that is the output layer too starts small also where its rows go through a norm.
TEST(Initialize, TiedCodesStartSmallBeforeANorm) {
  ModelConfig config{.channels = 64, .vocabulary = 10, .embedding_rank = 16};
  EXPECT_DOUBLE_EQ(embedding_deviation(config, config.embedding_width()), 0.04);
  config.parts.embedding_norm = true;
  EXPECT_DOUBLE_EQ(embedding_deviation(config, config.embedding_width()), 0.04);
  config.embedding_rank = 0;
  EXPECT_DOUBLE_EQ(embedding_deviation(config, config.embedding_width()), 0.02);
  config.parts.tied = false;
  EXPECT_DOUBLE_EQ(embedding_deviation(config, config.embedding_width()), 2);
  config.parts.embedding_norm = false;
  EXPECT_DOUBLE_EQ(embedding_deviation(config, config.embedding_width()), 2);
}

}  // namespace
}  // namespace cllm::model
