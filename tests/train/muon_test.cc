#include "cllm/train/muon.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "cllm/base/error.h"
#include "cllm/base/random.h"
#include "support/reference_muon.h"
#include "support/tolerance.h"
#include "support/training_bench.h"

namespace cllm::train {
namespace {

using support::ReferenceMatrix;
using support::ReferenceMuon;
using support::ReferenceMuonOptions;

/// Fewer keys than queries, and SwiGLU: matrices that stand one below the other, of unlike heights.
model::ModelConfig pieces_model() {
  model::ModelConfig config{
      .layers = 2, .heads = 4, .channels = 32, .context = 16, .vocabulary = 50};
  config.kv_heads = 2;
  config.parts.mlp = model::MlpKind::kSwiglu;
  config.parts.tied = false;
  return config;
}

ranks::SingleProcess alone;

/// What takes a step.
template <typename Kind>
struct StepTaker {
  StepTaker(const model::Layout& layout, const OptimizerOptions& options, ThreadPool& pool)
      : rows(layout),
        ownership(layout),
        optimizer({layout, rows, kernels::select_kernels(), pool, alone, ownership}, options) {}
  RowChunks rows;
  Ownership ownership;
  Kind optimizer;
};

AlignedBuffer<float> random_buffer(const model::Layout& layout, std::uint64_t seed, double size) {
  AlignedBuffer<float> buffer(layout.flat_size());
  RandomStream random(seed, 0);
  for (const model::Tensor& tensor : layout.tensors()) {
    for (std::size_t i = tensor.offset; i < tensor.offset + tensor.size(); ++i) {
      buffer[i] = static_cast<float>(size * random.normal());
    }
  }
  return buffer;
}

constexpr int kSteps = 4;
constexpr double kRate = 0.02, kScale = 0.5, kGradient = 0.01;
const OptimizerOptions kOptions{.name = "muon", .weight_decay = 0.1};

/// Parameters after some steps with random gradients, and the first ones.
template <typename Kind>
std::vector<float> after_steps(const model::Layout& layout,
                               const OptimizerOptions& options = kOptions,
                               std::uint64_t updates = 0) {
  State state(layout, Kind::kBuffers);
  const AlignedBuffer<float> first = random_buffer(layout, 1, 0.1);
  std::ranges::copy(first.span(), state.parameters.data());
  state.updates = updates;
  ThreadPool pool(2);
  StepTaker<Kind> steps(layout, options, pool);
  for (int step = 0; step < kSteps; ++step) {
    const AlignedBuffer<float> gradient =
        random_buffer(layout, static_cast<std::uint64_t>(step) + 10, kGradient);
    steps.optimizer.update({.floats = gradient.data()}, kRate, kScale, state);
    state.updates += 1;
  }
  return {state.parameters.span().begin(), state.parameters.span().end()};
}

ReferenceMatrix matrix_of(const HiddenMatrix& matrix, std::span<const float> buffer, double scale) {
  ReferenceMatrix result(matrix.rows, matrix.columns);
  for (std::size_t i = 0; i < matrix.size(); ++i) {
    result.values[i] = scale * double{buffer[matrix.begin + i]};
  }
  return result;
}

/// The furthest that a matrix' steps are from the reference's, as a share of the way that it went.
double distance_from_reference(const ReferenceMuonOptions& options, std::uint64_t updates = 0) {
  const model::Layout layout(pieces_model());
  const std::vector<float> result = after_steps<Muon>(layout, kOptions, updates);
  const AlignedBuffer<float> first = random_buffer(layout, 1, 0.1);
  double furthest = 0;
  for (const HiddenMatrix& matrix : hidden_matrices(layout)) {
    ReferenceMatrix w = matrix_of(matrix, first.span(), 1);
    ReferenceMuon reference(matrix.rows, matrix.columns, options);
    for (int step = 0; step < kSteps; ++step) {
      const auto number = static_cast<std::uint64_t>(step);
      // The warm-up as its words say: a line from 0.85 over 300 updates.
      const double momentum = 0.85 + (options.momentum - 0.85) *
                                         std::min(1.0, static_cast<double>(updates + number) / 300);
      const AlignedBuffer<float> gradient = random_buffer(layout, number + 10, kGradient);
      reference.step(w, matrix_of(matrix, gradient.span(), kScale), kRate, momentum);
    }
    double error = 0, way = 0;
    for (std::size_t i = 0; i < matrix.size(); ++i) {
      error += std::pow(double{result[matrix.begin + i]} - w.values[i], 2);
      way += std::pow(double{first[matrix.begin + i]} - w.values[i], 2);
    }
    furthest = std::max(furthest, std::sqrt(error / way));
  }
  return furthest;
}

// A step's error is that of the orthogonal matrix, which tests/train/orthogonalise_test.cc bounds
// by its condition, below 500 (the polynomials' first slope to the fifth), times u times the root
// of the sums' lengths: here 5 (86 + 2 32) = 750. Steps have errors of their own, and so has what
// is subtracted from parameters 5 times as large as the way of all: u each.
TEST(Muon, GoesWhereTheMathematicsGo) {
  const double tolerance = 500 * support::kFloatRoundoff * std::sqrt(750.0);
  const ReferenceMuonOptions right{.momentum = 0.95, .weight_decay = 0.1};
  EXPECT_LE(distance_from_reference(right), tolerance);
  EXPECT_LE(distance_from_reference(right, 299), tolerance);

  const auto expect_refused = [&](auto change) {
    ReferenceMuonOptions wrong = right;
    change(wrong);
    EXPECT_GT(distance_from_reference(wrong, 299), tolerance);
  };
  expect_refused([](ReferenceMuonOptions& o) { o.momentum = 0.94; });
  expect_refused([](ReferenceMuonOptions& o) { o.weight_decay = 0.12; });
  expect_refused([](ReferenceMuonOptions& o) { o.size = 0.201; });
  expect_refused([](ReferenceMuonOptions& o) { o.nesterov = false; });
  expect_refused([](ReferenceMuonOptions& o) { o.quintics.pop_back(); });
  expect_refused([](ReferenceMuonOptions& o) { o.quintics.back().c = 2.04; });
}

TEST(Muon, WhatIsNoHiddenMatrixGoesAsWithAdamW) {
  for (const model::ModelConfig& config :
       {pieces_model(), support::kSmallModel, support::kFactorisedModel}) {
    const model::Layout layout(config);
    const std::vector<float> muon = after_steps<Muon>(layout), adamw = after_steps<AdamW>(layout);
    for (const model::Tensor& tensor : layout.tensors()) {
      const auto part = [&](const std::vector<float>& all) {
        return std::vector<float>(
            all.begin() + static_cast<std::ptrdiff_t>(tensor.offset),
            all.begin() + static_cast<std::ptrdiff_t>(tensor.offset + tensor.size()));
      };
      if (tensor.role == model::Role::kHidden) {
        EXPECT_NE(part(muon), part(adamw)) << tensor.name;
      } else {
        EXPECT_EQ(part(muon), part(adamw)) << tensor.name;
      }
    }
  }
}

TEST(Muon, AnUpdateIsAsLargeAsAdamWs) {
  const model::Layout layout(support::kSmallModel);
  OptimizerOptions options = kOptions;
  options.weight_decay = 0;
  State state(layout, Muon::kBuffers);
  ThreadPool pool(1);
  StepTaker<Muon> steps(layout, options, pool);
  const AlignedBuffer<float> gradient = random_buffer(layout, 2, 1e-3);
  steps.optimizer.update({.floats = gradient.data()}, 1.0, 1.0, state);
  for (const HiddenMatrix& matrix : hidden_matrices(layout)) {
    double squares = 0;
    for (std::size_t i = 0; i < matrix.size(); ++i) {
      squares += std::pow(double{state.parameters[matrix.begin + i]}, 2);
    }
    // 0.2 of the rate, where singular values end at 1, which they do within 0.68 and 1.13; those of
    // square random matrices may begin, and end, near 0.
    EXPECT_NEAR(std::sqrt(squares / static_cast<double>(matrix.size())), 0.2, 0.07);
  }
}

TEST(Muon, AGradientOfZerosLeavesWeightsToTheirDecay) {
  const model::Layout layout(support::kSmallModel);
  State state(layout, Muon::kBuffers);
  state.parameters.fill(1.0f);
  ThreadPool pool(2);
  StepTaker<Muon> steps(layout, kOptions, pool);
  const AlignedBuffer<float> gradient(layout.flat_size());
  steps.optimizer.update({.floats = gradient.data()}, 0.5, 1.0, state);
  for (const HiddenMatrix& matrix : hidden_matrices(layout)) {
    for (std::size_t i = 0; i < matrix.size(); ++i) {
      ASSERT_NEAR(state.parameters[matrix.begin + i], 0.95f, 1e-6);
    }
  }
}

TEST(Muon, ItsMomentumGrowsInALine) {
  EXPECT_EQ(Muon::momentum_at(0.95, 0), 0.85);
  EXPECT_NEAR(Muon::momentum_at(0.95, 150), 0.9, 1e-12);
  EXPECT_EQ(Muon::momentum_at(0.95, 300), 0.95);
  EXPECT_EQ(Muon::momentum_at(0.95, 100'000), 0.95);
  EXPECT_EQ(Muon::momentum_at(0.5, 0), 0.5);
}

/// Options of a bench that has Muon.
TrainerOptions with_muon(std::size_t batch, std::size_t micro_batch, int threads) {
  TrainerOptions options = support::trainer_options(batch, micro_batch, threads);
  options.optimizer.name = "muon";
  return options;
}

TEST(Muon, GivesTheSameBitsOnAnyRanksAndThreads) {
  for (const model::ModelConfig& config : {support::kSmallModel, pieces_model()}) {
    const std::vector<double> one = support::trained(1, with_muon(12, 1, 1), 6, config);
    for (const auto& [ranks, threads] :
         {std::pair{1, 2}, {1, 3}, {1, 4}, {2, 1}, {2, 2}, {3, 1}, {4, 1}, {4, 2}}) {
      EXPECT_EQ(support::trained(ranks, with_muon(12, 1, threads), 6, config), one)
          << ranks << " x " << threads;
    }
    EXPECT_NE(support::trained(1, with_muon(12, 2, 1), 6, config), one);  // other sums are told
  }
}

TEST(Muon, OverfitsOneBatch) {
  TrainerOptions options = with_muon(4, 4, 1);
  options.schedule.learning_rate = 1e-2;
  options.optimizer.weight_decay = 0;
  support::TrainingBench bench(support::random_tokens(support::kSmallModel.context + 1, 3), options,
                               alone);
  StepReport report{};
  for (int step = 0; step < 150; ++step) report = bench.trainer.step(bench.state);
  EXPECT_LT(report.loss, 0.01);
}

TEST(Muon, TellsWhatItAllocates) {
  // In a step nothing: tests/train/allocation_test.cc. Here, that it is counted at all: a buffer of
  // all updates, and work.
  const model::Layout layout(pieces_model());
  std::size_t updates = 0;
  for (const HiddenMatrix& matrix : hidden_matrices(layout)) updates += matrix.size();
  const Ownership all(layout);
  const auto bytes = [&](int threads) { return Muon::work_bytes(layout, threads, all, alone); };
  EXPECT_GT(bytes(1), updates * sizeof(float));
  EXPECT_LT(bytes(1), 2 * updates * sizeof(float));
  EXPECT_GE(bytes(4), bytes(1));
}

// Note [Width]: at an eighth of the usual channels the rates of matrices are 8 times as large, and
// Muon's the root of that.
TEST(Width, ScalesTheRatesOfWhatIsMultipliedWith) {
  const model::Layout layout(pieces_model());
  const auto step = [&]<typename Kind>(double rate, bool scales) {
    State state(layout, Kind::kBuffers);
    ThreadPool pool(2);
    StepTaker<Kind> steps(layout, {.weight_decay = 0, .scales_with_width = scales}, pool);
    const AlignedBuffer<float> gradient = random_buffer(layout, 10, kGradient);
    steps.optimizer.update({.floats = gradient.data()}, rate, kScale, state);
    return std::vector<float>(state.parameters.span().begin(), state.parameters.span().end());
  };
  const auto expect_factors = [&]<typename Kind>(double hidden, double head) {
    const std::vector<float> plain = step.template operator()<Kind>(kRate, false);
    const std::vector<float> scaled = step.template operator()<Kind>(kRate, true);
    for (const model::Tensor& tensor : layout.tensors()) {
      double factor = 1;
      if (tensor.role == model::Role::kHidden) factor = hidden;
      if (tensor.role == model::Role::kHead) factor = head;
      for (std::size_t i = tensor.offset; i < tensor.offset + tensor.size(); ++i) {
        // Some roundings each of the rate, its product with the update, and the factor.
        const double expected = factor * double{plain[i]};
        EXPECT_NEAR(scaled[i], expected, 8 * support::kFloatRoundoff * std::abs(expected))
            << tensor.name;
      }
    }
  };
  expect_factors.template operator()<AdamW>(8, 8);
  expect_factors.template operator()<Muon>(std::sqrt(8.0), 8);
}

}  // namespace
}  // namespace cllm::train
