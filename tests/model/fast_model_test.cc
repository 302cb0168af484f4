// The fast model against the reference and against PyTorch.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <ostream>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cllm/kernels/implementations.h"
#include "cllm/model/model.h"
#include "support/compare.h"
#include "support/example.h"
#include "support/flat_sink.h"
#include "support/golden.h"
#include "support/reference_gradients.h"
#include "support/reference_model.h"
#include "support/tolerance.h"
#include "support/variants.h"

namespace cllm {
namespace {

using model::ModelConfig;
using model::Purpose;
using model::Workspace;
using support::Example;

struct Case {
  std::string name;
  ModelConfig config;
  std::size_t sequences, positions;

  bool is_large() const { return config.vocabulary > 10000; }
};

void PrintTo(const Case& one, std::ostream* out) {
  *out << fmt::format("{}, batch {}x{}", model::shape_text(one.config), one.sequences,
                      one.positions);
}

std::vector<Case> cases() {
  std::vector<Case> cases = {
      {"gpt2_one_position",
       {.layers = 1, .heads = 1, .channels = 8, .context = 4, .vocabulary = 5},
       1,
       1},
      {"gpt2_odd", {.layers = 1, .heads = 1, .channels = 5, .context = 7, .vocabulary = 13}, 2, 7},
      {"gpt2_two_heads",
       {.layers = 2, .heads = 2, .channels = 16, .context = 16, .vocabulary = 29},
       3,
       16},
  };
  const auto add = [&](std::string_view name, const ModelConfig& config, std::size_t sequences,
                       std::size_t positions) {
    cases.push_back({std::string(name), config, sequences, positions});
  };
  // Factorised embeddings: thin, half, as wide as the model.
  ModelConfig codes{.layers = 1, .heads = 1, .channels = 5, .context = 7, .vocabulary = 13};
  codes.embedding_rank = 1;
  add("gpt2_thin_codes", codes, 2, 7);
  codes = {.layers = 2, .heads = 4, .channels = 32, .context = 40, .vocabulary = 61};
  codes.embedding_rank = 16;
  add("gpt2_half_codes", codes, 2, 33);
  codes = {.layers = 1, .heads = 2, .channels = 16, .context = 16, .vocabulary = 29};
  codes.embedding_rank = 16;
  add("gpt2_wide_codes", codes, 3, 16);

  const auto add_all = [&](std::string_view name, const std::vector<support::Variant>& variants,
                           std::size_t sequences, std::size_t positions) {
    for (const support::Variant& variant : variants) {
      add(fmt::format("{}_{}", variant.name, name), variant.config, sequences, positions);
    }
  };
  add_all("parts",
          support::all_variants({.layers = 2,
                                 .heads = 4,
                                 .channels = 32,
                                 .context = 40,
                                 .vocabulary = 61,
                                 .kv_heads = 2}),
          2, 33);
  add_all("three_heads",
          support::all_families(
              {.layers = 3, .heads = 3, .channels = 48, .context = 20, .vocabulary = 257}),
          1, 20);
  // Nothing is a multiple of a vector's length.
  add_all("odd_sizes",
          support::all_families({.layers = 2,
                                 .heads = 3,
                                 .channels = 13,
                                 .context = 9,
                                 .vocabulary = 17,
                                 .kv_heads = 1,
                                 .head_size = 10,
                                 .mlp_width = 21}),
          3, 7);
  add_all("first_position",
          support::all_families(
              {.layers = 1, .heads = 2, .channels = 12, .context = 5, .vocabulary = 7}),
          2, 1);
  // More positions than a block of queries, and a part of one left over.
  add_all("long",
          support::all_families({.layers = 1,
                                 .heads = 2,
                                 .channels = 16,
                                 .context = 300,
                                 .vocabulary = 40,
                                 .kv_heads = 1}),
          1, 275);
  const auto add_lora = [&](const std::string& name, std::size_t rank, const char* targets,
                            const ModelConfig& shape, std::size_t sequences,
                            std::size_t positions) {
    for (const support::Variant& family : support::all_families(shape)) {
      add(family.name + name, support::with_lora(family.config, rank, 7, targets), sequences,
          positions);
    }
  };
  const ModelConfig shape{.layers = 2,
                          .heads = 4,
                          .channels = 32,
                          .context = 20,
                          .vocabulary = 61,
                          .kv_heads = 2,
                          .mlp_width = 40};
  add_lora("_lora", 3, "all", shape, 2, 17);
  add_lora("_lora_some", 16, "q_proj,v_proj,down_proj", shape, 2, 17);
  add_lora("_lora_others", 1, "k_proj,o_proj,up_proj", shape, 3, 5);
  // More rows than the head takes at a time.
  const ModelConfig large{
      .layers = 1, .heads = 1, .channels = 4, .context = 48, .vocabulary = 600000};
  add("gpt2_large_vocabulary", large, 1, 48);
  add("nanochat_large_vocabulary", support::of_family(large, "nanochat"), 1, 48);
  codes = large;
  codes.embedding_rank = 2;
  add("gpt2_codes_large_vocabulary", codes, 1, 48);
  return cases;
}

class FastModel : public testing::TestWithParam<Case> {
 protected:
  const ModelConfig& config() const { return GetParam().config; }
  Example example(std::uint64_t seed) const {
    return support::make_example(config(), GetParam().sequences, GetParam().positions, seed);
  }
};

INSTANTIATE_TEST_SUITE_P(Cases, FastModel, testing::ValuesIn(cases()), support::NameOfParameter());

/// The cases that don't take a minute.
std::vector<Case> small_cases() {
  std::vector<Case> small = cases();
  std::erase_if(small, [](const Case& one) { return one.is_large(); });
  return small;
}

class SmallFastModel : public FastModel {};

INSTANTIATE_TEST_SUITE_P(Cases, SmallFastModel, testing::ValuesIn(small_cases()),
                         support::NameOfParameter());

model::MicroBatch micro_batch_of(const Example& e) {
  return {e.inputs.data(), e.targets.data(), e.sequences, e.positions};
}

double reference_loss(const Example& e) {
  return support::reference_loss<double>(e.layout, e.exact_parameters(), e.inputs, e.targets,
                                         e.sequences, e.positions);
}

TEST_P(FastModel, LossAndGradientsAreThoseOfTheReference) {
  const Example e = example(11);
  // To measure the condition of a large one takes long.
  const double tolerance =
      GetParam().is_large() ? 1e-4 : support::gradient_tolerance(e, support::kFloatRoundoff);
  const std::vector<double> reference = support::reference_gradients<double>(
      e.layout, e.exact_parameters(), e.inputs, e.targets, e.sequences, e.positions);
  const double loss = reference_loss(e);
  for (const kernels::Kernels* kernels : kernels::runnable_kernels()) {
    SCOPED_TRACE(kernels->name);
    const model::Model model(config(), *kernels);
    support::TrainingRoom room(model, {e.sequences, e.positions, e.sequences * e.positions});
    AlignedBuffer<float> gradient(e.layout.flat_size());
    const auto rows = static_cast<double>(e.sequences * e.positions);
    const double fast = room.loss_and_gradient(e.parameters.data(), micro_batch_of(e),
                                               static_cast<float>(1 / rows), gradient.data());
    EXPECT_NEAR(fast / rows, loss, tolerance * std::max(1.0, loss));
    const auto agree =
        support::gradients_agree<float>(e.layout, gradient.span(), reference, tolerance);
    EXPECT_TRUE(agree);
    RecordProperty(std::string(kernels->name), agree.message());
    // The checker must refuse a gradient that is wrong in one place.
    float& wrong = gradient[e.layout[e.layout.layer(0).attn_proj_weight].offset];
    wrong = 1.1f * wrong + 0.1f;
    EXPECT_FALSE(support::gradients_agree<float>(e.layout, gradient.span(), reference, tolerance));
  }
}

// What a team computes depends on the micro-batch and its token blocks, not on how many share it.
TEST_P(SmallFastModel, ATeamOfAnySizeGivesTheSameBits) {
  const Example e = example(4);
  const model::Model model(config(), kernels::select_kernels());
  const std::size_t rows = e.sequences * e.positions;
  const auto gradient_of = [&](std::size_t token_block, int team) {
    support::TrainingRoom room(model, {e.sequences, e.positions, token_block}, team);
    std::vector<float> result(e.layout.flat_size());
    // Twice, so that what a micro-batch leaves behind would be seen.
    for (int i = 0; i < 2; ++i) {
      result.push_back(static_cast<float>(
          room.loss_and_gradient(e.parameters.data(), micro_batch_of(e), 1.0f, result.data())));
    }
    return result;
  };
  const std::vector<float> alone = gradient_of((rows + 3) / 4, 1);
  for (const int team : {2, 3, 4, 7}) {
    EXPECT_EQ(gradient_of((rows + 3) / 4, team), alone) << rows << " rows, a team of " << team;
  }
  // And whatever the token block, it is the same gradient but for rounding.
  const double tolerance = support::gradient_tolerance(e, support::kFloatRoundoff);
  const auto buffer = static_cast<std::ptrdiff_t>(e.layout.flat_size());
  const std::vector<double> reference(alone.begin(), alone.begin() + buffer);
  const std::vector<float> whole = gradient_of(rows, 1);
  EXPECT_TRUE(support::gradients_agree<float>(
      e.layout, std::span(whole).first(e.layout.flat_size()), reference, tolerance));
}

TEST_P(FastModel, EvaluationGivesTheBitsOfTraining) {
  const Example e = example(3);
  const model::Model model(config(), kernels::select_kernels());
  const model::MicroBatchShape micro_batch{e.sequences, e.positions, e.sequences * e.positions};
  EXPECT_LE(Workspace::bytes_for(model.network(), micro_batch, Purpose::kEvaluation),
            Workspace::bytes_for(model.network(), micro_batch, Purpose::kTraining));
  support::TrainingRoom training(model, micro_batch);
  Workspace evaluation(model.network(), micro_batch, Purpose::kEvaluation);
  model::Scratch scratch(model.layout().config(), 0);
  AlignedBuffer<float> gradient(e.layout.flat_size());
  EXPECT_EQ(
      model.loss(e.parameters.data(), micro_batch_of(e), evaluation, scratch),
      training.loss_and_gradient(e.parameters.data(), micro_batch_of(e), 1.0f, gradient.data()));
}

class FastModelOfGolden : public testing::TestWithParam<std::string> {};

INSTANTIATE_TEST_SUITE_P(Families, FastModelOfGolden, testing::ValuesIn(support::golden_families()),
                         [](const auto& test) { return test.param; });

TEST_P(FastModelOfGolden, LossAndGradientsAreThoseOfPyTorch) {
  const support::Golden golden = support::load_golden(GetParam());
  const Example& e = golden.start;
  const double tolerance = support::gradient_tolerance(e, support::kFloatRoundoff);
  for (const kernels::Kernels* kernels : kernels::runnable_kernels()) {
    const model::Model model(e.layout.config(), *kernels);
    support::TrainingRoom room(model, {e.sequences, e.positions, 7});
    AlignedBuffer<float> gradient(e.layout.flat_size());
    const auto rows = static_cast<double>(e.sequences * e.positions);
    const double loss = room.loss_and_gradient(e.parameters.data(), micro_batch_of(e),
                                               static_cast<float>(1 / rows), gradient.data());
    EXPECT_NEAR(loss / rows, golden.steps[0].loss, tolerance * golden.steps[0].loss);
    EXPECT_TRUE(support::gradients_agree<float>(e.layout, gradient.span(), golden.first_gradients,
                                                tolerance));
  }
}

// Micro-batches add to the gradient that is there, and a workspace carries nothing over from one to
// the next.
TEST(FastModelOfVariants, GradientsOfMicroBatchesAddUp) {
  for (const support::Variant& variant : support::all_variants(
           {.layers = 2, .heads = 2, .channels = 16, .context = 16, .vocabulary = 29})) {
    SCOPED_TRACE(variant.name);
    const ModelConfig& config = variant.config;
    const Example e = support::make_example(config, 3, 16, 5);
    const model::Model model(config, kernels::select_kernels());
    support::TrainingRoom whole(model, {3, 16, 48});
    support::TrainingRoom single(model, {1, 16, 16});
    AlignedBuffer<float> together(e.layout.flat_size()), apart(e.layout.flat_size());
    const double loss =
        whole.loss_and_gradient(e.parameters.data(), micro_batch_of(e), 1.0f, together.data());
    double sum = 0;
    for (std::size_t s = 0; s < 3; ++s) {
      const model::MicroBatch micro_batch{e.inputs.data() + s * 16, e.targets.data() + s * 16, 1,
                                          16};
      sum += single.loss_and_gradient(e.parameters.data(), micro_batch, 1.0f, apart.data());
    }
    const double tolerance = support::gradient_tolerance(e, support::kFloatRoundoff);
    EXPECT_NEAR(sum, loss, tolerance * loss);
    const std::vector<double> reference(together.span().begin(), together.span().end());
    EXPECT_TRUE(support::gradients_agree<float>(e.layout, apart.span(), reference, tolerance));
  }
}

}  // namespace
}  // namespace cllm
