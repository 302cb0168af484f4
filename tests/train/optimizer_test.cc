#include "cllm/train/optimizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "cllm/base/error.h"
#include "cllm/base/random.h"
#include "cllm/model/model.h"
#include "cllm/train/adamw.h"
#include "support/flat_sink.h"
#include "support/golden.h"

namespace cllm::train {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

ranks::SingleProcess alone;

/// What takes a step.
struct StepTaker {
  StepTaker(const model::Layout& layout, const OptimizerOptions& options, ThreadPool& pool)
      : rows(layout),
        ownership(layout),
        exchange(rows, ownership, alone),
        norm(layout, rows, kernels::select_kernels(), pool, ownership, exchange),
        optimizer({layout, rows, kernels::select_kernels(), pool, alone, ownership}, options) {}
  RowChunks rows;
  Ownership ownership;
  RowExchange exchange;
  GradientNorm norm;
  AdamW optimizer;
};

/// How far ten steps of the fast model end from where PyTorch's end.
struct Distance {
  double parameters = 0;  // the most that one is off, but for keys' biases: their gradient is noise
  double norms = 0;       // the most that a gradient's norm is off, relative
};

Distance distance_from_pytorch(const OptimizerOptions& options, const support::Golden& golden) {
  const model::Layout& layout = golden.start.layout;
  const model::Model model(layout.config(), kernels::select_kernels());
  support::TrainingRoom room(model, {golden.start.sequences, golden.start.positions, 16});
  State state(layout, AdamW::kBuffers);
  std::ranges::copy(golden.start.parameters, state.parameters.data());
  AlignedBuffer<float> gradient(layout.flat_size());
  ThreadPool pool(2);
  StepTaker steps(layout, options, pool);
  Distance distance;
  for (const support::GoldenStep& step : golden.steps) {
    const model::MicroBatch micro_batch{step.inputs.data(), step.targets.data(),
                                        golden.start.sequences, golden.start.positions};
    gradient.fill(0);
    room.loss_and_gradient(state.parameters.data(), micro_batch,
                           1 / static_cast<float>(micro_batch.rows()), gradient.data());
    const SummedGradient summed{.floats = gradient.data()};
    const double norm = steps.norm.of(summed);
    distance.norms =
        std::max(distance.norms, std::abs(norm - step.gradient_norm) / step.gradient_norm);
    steps.optimizer.update(summed, step.learning_rate, clip_scale(norm, options.clip), state);
    state.updates += 1;
  }
  for (const model::Tensor& tensor : layout.tensors()) {
    for (std::size_t i = tensor.offset; i < tensor.offset + tensor.size(); ++i) {
      if (support::is_keys_bias(layout, i)) continue;
      const double error =
          std::abs(static_cast<double>(state.parameters[i]) - golden.final_parameters[i]);
      distance.parameters = std::max(distance.parameters, error);
    }
  }
  return distance;
}

OptimizerOptions options_of(const support::Golden& golden) {
  return {.beta1 = golden.adamw.beta1,
          .beta2 = golden.adamw.beta2,
          .epsilon = golden.adamw.epsilon,
          .weight_decay = golden.adamw.weight_decay,
          .clip = golden.adamw.clip};
}

// Adam divides a gradient by its size, so an element that is all rounding error may step by the
// whole learning rate. 1e-3 of the sum of rates is what ten steps of float may be off, and a wrong
// option is off by more. Norms are sums of squares whose errors average out: single precision times
// the depth of the model.
class OptimizerOf : public testing::TestWithParam<std::string> {};

INSTANTIATE_TEST_SUITE_P(Families, OptimizerOf, testing::ValuesIn(support::golden_families()),
                         [](const auto& test) { return test.param; });

TEST_P(OptimizerOf, TenStepsGoWherePyTorchGoes) {
  const support::Golden golden = support::load_golden(GetParam());
  double rates = 0;
  for (const support::GoldenStep& step : golden.steps) rates += step.learning_rate;
  const OptimizerOptions options = options_of(golden);
  const Distance distance = distance_from_pytorch(options, golden);
  EXPECT_LT(distance.parameters, 1e-3 * rates);
  EXPECT_LT(distance.norms, 1e-4);
  RecordProperty("distance", std::to_string(distance.parameters / rates));

  const auto expect_refused = [&](auto change) {
    OptimizerOptions wrong = options;
    change(wrong);
    EXPECT_GT(distance_from_pytorch(wrong, golden).parameters, 1e-3 * rates);
  };
  expect_refused([](OptimizerOptions& o) { o.weight_decay *= 1.2; });
  expect_refused([](OptimizerOptions& o) { o.beta1 *= 0.98; });
  expect_refused([](OptimizerOptions& o) { o.beta2 *= 0.99; });
  expect_refused([](OptimizerOptions& o) { o.clip = 0; });
}

TEST(Optimizer, GivesTheSameBitsForAnyNumberOfThreads) {
  const model::Layout layout(
      {.layers = 2, .heads = 2, .channels = 64, .context = 64, .vocabulary = 3000});
  RandomStream random(5, 0);
  AlignedBuffer<float> gradient(layout.flat_size());
  for (float& g : gradient.span()) g = static_cast<float>(random.normal());
  const model::Tiling tiling(layout);
  const std::vector<SumRow> rows = rows_of(layout, tiling);
  // Of rows with and without high words.
  IntegerSums integers(kernels::select_kernels(), layout.flat_size(), rows.size(), 3 * 64 * 4);
  std::vector<std::int32_t> exponents;
  for (const SumRow& row : rows) {
    exponents.push_back(row.index % 3 == 0 ? 40 : 20);
    integers.add(row, gradient.data() + row.at, exponents.back(), true);
  }
  const auto run = [&](int threads, const SummedGradient& summed) {
    State state(layout, AdamW::kBuffers);
    std::ranges::copy(gradient.span(), state.parameters.data());
    ThreadPool pool(threads);
    StepTaker steps(layout, {}, pool);
    const double norm = steps.norm.of(summed);
    steps.optimizer.update(summed, 1e-3, clip_scale(norm, 1.0), state);
    std::vector<double> result(state.parameters.span().begin(), state.parameters.span().end());
    result.insert(result.end(), state.buffers[1].values().begin(), state.buffers[1].values().end());
    result.push_back(norm);
    return result;
  };
  for (const SummedGradient& summed :
       {SummedGradient{.floats = gradient.data()},
        SummedGradient{.integers = &integers, .exponents = exponents}}) {
    EXPECT_EQ(run(1, summed), run(2, summed));
    EXPECT_EQ(run(1, summed), run(5, summed));
  }
}

TEST(Optimizer, TheTokenTableHasARateOfItsOwn) {
  const model::Layout layout({.layers = 1,
                              .heads = 2,
                              .channels = 8,
                              .context = 4,
                              .vocabulary = 30,
                              .embedding_rank = 4});
  AlignedBuffer<float> gradient(layout.flat_size());
  RandomStream random(6, 0);
  for (float& g : gradient.span()) g = static_cast<float>(random.normal());
  const auto after = [&](double rate, double embedding_learning_rate) {
    State state(layout, AdamW::kBuffers);
    std::ranges::copy(gradient.span(), state.parameters.data());
    ThreadPool pool(2);
    StepTaker steps(layout, {.embedding_learning_rate = embedding_learning_rate}, pool);
    steps.optimizer.update({.floats = gradient.data()}, rate, 1.0, state);
    return std::vector<float>(state.parameters.span().begin(), state.parameters.span().end());
  };
  const std::vector<float> plain = after(1e-3, 1), twice = after(2e-3, 1), table = after(1e-3, 2);
  for (std::size_t t = 0; t < layout.tensors().size(); ++t) {
    for (std::size_t i = layout[t].offset; i < layout[t].offset + layout[t].size(); ++i) {
      EXPECT_NE(plain[i], twice[i]);
      EXPECT_EQ(table[i], t == layout.embedding().front().tensor ? twice[i] : plain[i])
          << layout[t].name;
    }
  }
}

TEST(Optimizer, ClipsToTheNorm) {
  EXPECT_EQ(clip_scale(4.0, 1.0), 0.25);
  EXPECT_EQ(clip_scale(0.5, 1.0), 1.0);
  EXPECT_EQ(clip_scale(4.0, 0.0), 1.0);
  EXPECT_EQ(clip_scale(0.0, 1.0), 1.0);
}

TEST(Optimizer, ErrorsNameTheOption) {
  const auto expect = [](const OptimizerOptions& options, const char* text) {
    EXPECT_THAT([&] { validate(options); }, ThrowsMessage<Error>(HasSubstr(text)));
  };
  EXPECT_NO_THROW(validate(OptimizerOptions{}));
  expect({.name = "sgd"}, "--optimizer sgd: choose adamw or muon");
  expect({.beta1 = 1.0}, "--beta1 1");
  expect({.beta2 = -0.1}, "--beta2 -0.1");
  expect({.muon_momentum = 1.0}, "--muon-momentum 1");
  expect({.embedding_learning_rate = 0}, "--embedding-rate 0");
  expect({.weight_decay = -1}, "--weight-decay -1");
  expect({.clip = -1}, "--clip -1");
  expect({.clip = std::numeric_limits<double>::infinity()}, "--clip inf");
}

}  // namespace
}  // namespace cllm::train
