// Bands of frequency. Their gradients: fast_model_test.cc, for the variants with bands.
#include "cllm/model/bands.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <string>
#include <vector>

#include "cllm/model/flops.h"
#include "cllm/model/generator.h"
#include "cllm/model/initialize.h"
#include "cllm/model/model.h"
#include "support/error_of.h"
#include "support/example.h"
#include "support/reference_model.h"
#include "support/tolerance.h"
#include "support/variants.h"

namespace cllm::model {
namespace {

using support::error_of;

constexpr ModelConfig kShape{
    .layers = 2, .heads = 2, .channels = 12, .context = 7, .vocabulary = 29};

TEST(Bands, AreReadAndWritten) {
  for (const char* text : {"rest:4", "1:12,rest:3", "8:12,20:6,1:1", "29:12"}) {
    EXPECT_EQ(text_of(bands_of(text)), text);
  }
  EXPECT_EQ(text_of(EmbeddingBands{}), "");
  const EmbeddingBands bands = bands_of("8:12,rest:3");
  ASSERT_EQ(bands.count, 2u);
  EXPECT_EQ(bands.bands[0], (EmbeddingBand{8, 12}));
  EXPECT_EQ(text_of(with_rows(bands, 29)), "8:12,21:3");
  EXPECT_EQ(text_of(with_rows(bands, 8)), "8:12,rest:3");
}

TEST(Bands, WhatMakesNoSenseIsRefused) {
  for (const char* text :
       {"", ",", "8", "8:", ":4", "8:4,", "rest:4,8:4", "0:4,rest:4", "8:0", "-1:4", "8:4:2",
        "8:4 ,rest:2", "99999999999999999999:4", "1:1,1:1,1:1,1:1,1:1,1:1,1:1,1:1,rest:1"}) {
    EXPECT_NE(error_of([&] { bands_of(text); }), "") << text;
  }
  const auto refused = [](const char* text, std::size_t vocabulary, std::size_t channels) {
    return error_of([&] { validate(bands_of(text), vocabulary, channels); });
  };
  EXPECT_EQ(refused("8:12,rest:13", 29, 12),
            "--embedding-bands 8:12,rest:13: give each band a rank from 1 to the 12 of --channels");
  for (const char* text :
       {"8:12,20:6", "8:12,22:6", "29:12,rest:6", "30:12,rest:6", "18446744073709551615:1,30:1"}) {
    EXPECT_EQ(refused(text, 29, 12),
              std::string("--embedding-bands ") + text +
                  ": the vocabulary has 29 tokens; give bands of so many rows, or rest for those "
                  "of the last one");
  }
  validate(bands_of("8:12,21:6"), 29, 12);
  validate(bands_of("28:12,rest:6"), 29, 12);
}

TEST(Bands, UsualOnesEndWithAShellAndSaveWhatTheyPromise) {
  const EmbeddingBands gpt2 = usual_bands(50257, 768);
  EXPECT_EQ(text_of(gpt2), "8281:768,41976:384");  // 91 squared
  EXPECT_LE(static_cast<double>(weights_of(gpt2.all(), 768)), 0.6 * 50257 * 768);
  EXPECT_EQ(text_of(usual_bands(8192, 192)), "1225:192,6967:96");
  EXPECT_EQ(error_of([] { usual_bands(256, 128); }),
            "--embedding-bands auto: a vocabulary of 256 tokens is too small for bands beside 128 "
            "channels; leave the option out, or say which bands");
  for (const std::size_t vocabulary : {1U, 5U, 6U, 100U}) {
    EXPECT_NE(error_of([&] { usual_bands(vocabulary, 1); }), "");
    EXPECT_NE(error_of([&] { usual_bands(vocabulary, 64); }), "");
  }
}

TEST(Bands, HaveTensorsOfTheirOwn) {
  ModelConfig config = support::of_family(kShape, "qwen3");
  config.bands = bands_of("5:12,10:6,rest:3");
  const auto names = [](const ModelConfig& of) {
    std::vector<std::string> result;
    const Layout layout(of);
    for (const Tensor& tensor : layout.tensors()) {
      if (tensor.name.starts_with("h.") || tensor.name.starts_with("ln")) continue;
      result.push_back(fmt::format("{} {}x{}", tensor.name, tensor.rows, tensor.columns));
    }
    return result;
  };
  const std::vector<std::string> table = {"wte.0.weight 5x12", "wte.1.codes 10x6",
                                          "wte.1.basis 6x12", "wte.2.codes 14x3",
                                          "wte.2.basis 3x12"};
  EXPECT_EQ(names(config), table);
  config.parts.tied = false;
  std::vector<std::string> both = table;
  for (const std::string& name : table) both.push_back("lm_head" + name.substr(3));
  EXPECT_EQ(names(config), both);
  EXPECT_EQ(weights_of(config.table_bands(), 12), 5u * 12 + 10 * 6 + 6 * 12 + 14 * 3 + 3 * 12);
  EXPECT_NE(shape_text(config).find("embedding bands 5:12,10:6,14:3"), std::string::npos);
  ModelConfig numbers = config;
  numbers.bands = bands_of("5:12,10:6,14:3");
  EXPECT_EQ(config, numbers);
  numbers.bands = bands_of("5:12,11:6,13:3");
  EXPECT_NE(config, numbers);
}

// Codes times basis is as large as dense rows are, whatever the rank.
TEST(Bands, StartWithOneDeviation) {
  ModelConfig config{.layers = 1, .heads = 1, .channels = 64, .context = 8, .vocabulary = 3000};
  config.bands = bands_of("1000:64,1000:32,rest:16");
  for (const bool tied : {true, false}) {
    config.parts.tied = tied;
    const Layout layout(config);
    std::vector<float> parameters(layout.flat_size());
    initialize(layout, 1, parameters, 2);
    for (const TableBand& band : layout.embedding()) {
      double squares = 0;
      for (std::size_t i = 0; i < layout[band.tensor].size(); ++i) {
        const double value = parameters[layout[band.tensor].offset + i];
        squares += value * value;
      }
      // The basis is orthonormal, so that a row is as long as its codes.
      EXPECT_NEAR(std::sqrt(squares / static_cast<double>(band.rows * config.channels)),
                  tied ? 0.02 : 2, tied ? 0.0005 : 0.05);
      if (!band.basis) continue;
      const Tensor& basis = layout[*band.basis];
      for (std::size_t i = 0; i < basis.size(); ++i) {
        EXPECT_EQ(parameters[basis.offset + i], i / 64 == i % 64 ? 1 : 0);
      }
    }
  }
}

// With a seed, all but the table are what they are beside a dense table.
TEST(Bands, StartWithTheWeightsOfADenseModelBehindThem) {
  ModelConfig config = support::with_lora(support::of_family(kShape, "nanochat"), 3, 7);
  const Layout dense(config);
  config.bands = bands_of("5:12,10:6,rest:3");
  const Layout banded(config);
  std::vector<float> of_dense(dense.flat_size()), of_banded(banded.flat_size());
  initialize(dense, 1, of_dense, 2);
  initialize(banded, 1, of_banded, 2);
  std::size_t compared = 0;
  for (const Tensor& tensor : dense.tensors()) {
    const auto same = std::ranges::find(banded.tensors(), tensor.name, &Tensor::name);
    if (same == banded.tensors().end()) continue;
    ++compared;
    EXPECT_TRUE(std::equal(of_dense.data() + tensor.offset,
                           of_dense.data() + tensor.offset + tensor.size(),
                           of_banded.data() + same->offset))
        << tensor.name;
  }
  EXPECT_EQ(compared, dense.tensors().size() - 2);  // "wte.weight" and "lm_head.weight"
}

// A model whose every band has rank C is the dense one with permuted rows.
TEST(Bands, OfFullRankAreTheDenseModel) {
  for (const char* family : {"gpt2", "nanochat"}) {
    ModelConfig banded_config = support::of_family(kShape, family);
    const support::Example dense = support::make_example(banded_config, 2, 7, 3);
    banded_config.bands = bands_of("9:12,1:12,rest:12");
    support::Example banded = support::make_example(banded_config, 2, 7, 4);
    std::vector<std::uint32_t> rows(29);
    for (std::uint32_t token = 0; token < 29; ++token) rows[token] = (token * 7 + 3) % 29;
    // The tables row by row; everything else as it is.
    for (const Tensor& tensor : dense.layout.tensors()) {
      const float* const from = dense.parameters.data() + tensor.offset;
      if (tensor.name == "wte.weight" || tensor.name == "lm_head.weight") {
        const auto bands =
            tensor.name[0] == 'w' ? banded.layout.embedding() : banded.layout.lm_head();
        for (std::uint32_t token = 0; token < 29; ++token) {
          const TableBand& band =
              *std::ranges::find_if(bands, [&](const TableBand& b) { return b.has(rows[token]); });
          std::copy_n(from + token * 12, 12,
                      banded.parameters.data() + banded.layout[band.tensor].offset +
                          (rows[token] - band.first_row) * 12);
        }
        continue;
      }
      const auto same = std::ranges::find(banded.layout.tensors(), tensor.name, &Tensor::name);
      ASSERT_NE(same, banded.layout.tensors().end());
      std::copy_n(from, tensor.size(), banded.parameters.data() + same->offset);
    }
    for (std::size_t i = 0; i < dense.inputs.size(); ++i) {
      banded.inputs[i] = rows[dense.inputs[i]];
      banded.targets[i] = rows[dense.targets[i]];
    }
    const auto loss_of = [](const support::Example& e) {
      const Model model(e.layout.config(), kernels::select_kernels());
      Workspace workspace(model.network(), {2, 7, 14}, Purpose::kEvaluation);
      Scratch scratch(model.layout().config(), 0);
      return model.loss(e.parameters.data(), {e.inputs.data(), e.targets.data(), 2, 7}, workspace,
                        scratch);
    };
    const double tolerance = support::gradient_tolerance(dense, support::kFloatRoundoff);
    EXPECT_NEAR(loss_of(banded) / loss_of(dense), 1, tolerance);
    // With other rows it is another model.
    std::swap(banded.inputs[0], banded.inputs[1]);
    EXPECT_GT(std::abs(loss_of(banded) / loss_of(dense) - 1), tolerance);
    std::swap(banded.inputs[0], banded.inputs[1]);

    // And the generator's logits are by tokens again.
    const Model one(dense.layout.config(), kernels::select_kernels());
    const Model other(banded.layout.config(), kernels::select_kernels());
    Generator by_tokens(one, dense.parameters), by_rows(other, banded.parameters, nullptr, rows);
    const std::span<const std::uint32_t> text = std::span(dense.inputs).first(7);
    support::Example first = dense;
    first.sequences = 1;
    first.inputs.resize(7);
    const support::Matrix<double> logits = support::reference_logits<double>(
        first.layout, first.exact_parameters(), first.inputs, {1, 7});
    const support::Matrix<double> last = support::rows_of(logits, {6});
    const double of_logits = support::logits_tolerance(first, support::kFloatRoundoff);
    EXPECT_TRUE(support::logits_agree(by_tokens.advance(text), last, of_logits));
    EXPECT_TRUE(support::logits_agree(by_rows.advance(text), last, of_logits));
    by_rows.clear();
    std::span<const float> stepwise;
    for (const std::uint32_t& token : text) stepwise = by_rows.advance({&token, 1});
    EXPECT_TRUE(support::logits_agree(stepwise, last, of_logits));
    Generator unmapped(other, banded.parameters);
    EXPECT_FALSE(support::logits_agree(unmapped.advance(text), last, of_logits));
  }
}

TEST(Bands, CostWhatTheirProductsCost) {
  const auto flops = [](const char* bands, bool tied) {
    ModelConfig config = kShape;
    config.parts.tied = tied;
    if (*bands != 0) config.bands = bands_of(bands);
    return training_flops_per_token(Layout(config));
  };
  // The head's products, and of inputs that with the basis of the most frequent band.
  const double dense_head = 6.0 * 29 * 12;
  const double rest = flops("", true) - dense_head;
  const double head = 6.0 * (9 * 12 + 20 * 4 + 4 * 12);
  for (const bool tied : {true, false}) {
    EXPECT_EQ(flops("9:12,rest:4", tied), rest + head);
    EXPECT_EQ(flops("rest:4", tied), rest + 6.0 * (29 * 4 + 4 * 12 + 4 * 12));
  }
}

}  // namespace
}  // namespace cllm::model
