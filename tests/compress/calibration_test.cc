#include "cllm/compress/calibration.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "cllm/base/random.h"
#include "cllm/kernels/kernels.h"
#include "cllm/train/window_micro_batches.h"
#include "support/example.h"
#include "support/flat_sink.h"

namespace cllm::compress {
namespace {

constexpr model::ModelConfig kDense{
    .layers = 2, .heads = 2, .channels = 8, .context = 16, .vocabulary = 11};
constexpr model::ModelConfig kFactorised{
    .layers = 2, .heads = 2, .channels = 8, .context = 16, .vocabulary = 11, .embedding_rank = 5};
constexpr model::ModelConfig kBanded = [] {
  model::ModelConfig config = kDense;
  config.bands = {{{{6, 8}, {3, 4}, {2, 3}}}, 3};
  return config;
}();
constexpr model::ModelConfig kUntied = [] {
  model::ModelConfig config = kBanded;
  config.parts.tied = false;
  return config;
}();

class CalibrationTest : public testing::TestWithParam<model::ModelConfig> {
 protected:
  CalibrationTest() {
    RandomStream random(7, 0);
    for (int i = 0; i < 16 * 40 + 6; ++i) {
      // Token 4 half of the time.
      tokens_.push_back(static_cast<std::uint32_t>(random.below(2) == 0 ? 4 : random.below(11)));
    }
  }

  std::vector<MatrixStatistics> measure(int threads, std::uint64_t sequences = 0) const {
    return measure_sensitivity(model_, example_.parameters.data(), view(), sequences, threads);
  }

  data::TokenView view() const { return data::TokenView(std::span<const std::uint32_t>(tokens_)); }

  const kernels::Kernels& kernels_ = kernels::select_kernels();
  const model::ModelConfig& config_ = GetParam();
  model::Model model_{config_, kernels_};
  support::Example example_ = support::make_example(config_, 1, 16, 3);
  std::vector<std::uint32_t> tokens_;
};

INSTANTIATE_TEST_SUITE_P(Tables, CalibrationTest,
                         testing::Values(kDense, kFactorised, kBanded, kUntied),
                         [](const auto& table) {
                           if (!table.param.parts.tied) return std::string("UntiedBands");
                           if (table.param.has_bands()) return std::string("Bands");
                           return std::string(table.param.is_factorised() ? "Factorised" : "Dense");
                         });

TEST_P(CalibrationTest, ThreadsChangeNothing) {
  const auto one = measure(1), three = measure(3);
  ASSERT_EQ(one.size(), three.size());
  for (std::size_t i = 0; i < one.size(); ++i) {
    EXPECT_EQ(one[i].weights, three[i].weights);
    ASSERT_EQ(one[i].covariance.size(), three[i].covariance.size());
    for (std::size_t j = 0; j < one[i].covariance.size(); ++j) {
      ASSERT_EQ(one[i].covariance[j], three[i].covariance[j]);
    }
  }
}

/// By the definition, from the activations of one micro-batch after another.
TEST_P(CalibrationTest, CovariancesAreThoseOfTheInputs) {
  const model::Layout& layout = model_.layout();
  const train::WindowMicroBatches micro_batches(view(), config_.context, 0);
  model::Workspace w(model_.network(), micro_batches.shape(), model::Purpose::kTraining);
  model::Scratch scratch(model_.layout().config(), model_.tiling().largest());
  train::WindowMicroBatches::Tokens room = micro_batches.make_room();
  const std::size_t c = config_.channels, wide = 4 * c;
  const auto input_of = [&](std::size_t tensor) {
    for (const model::MatrixInput& matrix : model_.network().matrices()) {
      if (matrix.tensor == tensor) return matrix.x;
    }
    throw std::out_of_range("no such matrix");
  };
  std::vector<double> attention(c * c), gelu(wide * wide);
  std::size_t rows = 0;
  for (std::size_t u = 0; u < micro_batches.size(); ++u) {
    const model::MicroBatch micro_batch = micro_batches.read(u, room);
    model_.loss(example_.parameters.data(), micro_batch, w, scratch);
    for (std::size_t r = 0; r < micro_batch.rows(); ++r) {
      const auto add = [r](const float* x, std::size_t n, std::vector<double>& sum) {
        for (std::size_t i = 0; i < n * n; ++i) {
          sum[i] += static_cast<double>(x[r * n + i / n]) * static_cast<double>(x[r * n + i % n]);
        }
      };
      add(w[input_of(layout.layer(1).attn_proj_weight)].data, c, attention);
      add(w[input_of(layout.layer(0).mlp_proj_weight)].data, wide, gelu);
    }
    rows += micro_batch.rows();
  }
  EXPECT_EQ(rows, tokens_.size() - 1);
  const auto statistics = measure(2);
  const auto expect_near = [&](std::size_t tensor, const std::vector<double>& sum) {
    const AlignedBuffer<double>& found = statistics[tensor].covariance;
    ASSERT_EQ(found.size(), sum.size());
    double largest = 0;
    for (const double value : sum) largest = std::max(largest, std::abs(value));
    for (std::size_t i = 0; i < sum.size(); ++i) {
      // Sums of 256 floats in float: their root times the roundoff, with some room.
      ASSERT_NEAR(found[i], sum[i] / static_cast<double>(rows),
                  64 * 0x1p-24 * largest / static_cast<double>(rows));
    }
  };
  expect_near(layout.layer(1).attn_proj_weight, attention);
  expect_near(layout.layer(0).mlp_proj_weight, gelu);
}

TEST_P(CalibrationTest, EveryMatrixHasStatisticsAndTheCommonestTokenCountsMost) {
  const auto statistics = measure(1);
  const model::Layout& layout = model_.layout();
  for (std::size_t i = 0; i < statistics.size(); ++i) {
    const model::Tensor& tensor = layout[i];
    EXPECT_EQ(statistics[i].weights.size(), tensor.is_matrix() ? tensor.rows : 0) << tensor.name;
    EXPECT_EQ(statistics[i].covariance.size(),
              tensor.is_matrix() ? tensor.columns * tensor.columns : 0);
    for (const double weight : statistics[i].weights) EXPECT_GT(weight, 0);
  }
  const std::vector<double>& tokens = statistics[layout.embedding().front().tensor].weights;
  for (std::size_t token = 0; token < tokens.size(); ++token) {
    EXPECT_TRUE(token == 4 || tokens[4] > 2 * tokens[token]) << token;
  }
}

/// The factors are made so that their traces give back what they came from: the mean square of a
/// micro-batch's gradient.
TEST_P(CalibrationTest, TraceTimesWeightIsTheSquaredGradient) {
  const model::Layout& layout = model_.layout();
  const train::WindowMicroBatches micro_batches(view(), config_.context, 0);
  model::Workspace w(model_.network(), micro_batches.shape(), model::Purpose::kTraining);
  model::Scratch scratch(model_.layout().config(), model_.tiling().largest());
  train::WindowMicroBatches::Tokens room = micro_batches.make_room();
  const model::Tensor& tensor = layout[layout.layer(1).c_fc_weight];
  std::vector<double> squares(tensor.rows);
  for (std::size_t u = 0; u < micro_batches.size(); ++u) {
    std::vector<float> buffer(layout.flat_size());
    support::FlatSink sink(model_, buffer.data());
    Team alone(1);
    Recorder recorder;
    model_.loss_and_gradient(example_.parameters.data(), micro_batches.read(u, room), 1.0f, w,
                             scratch, sink, Member{alone, 0, recorder});
    for (std::size_t i = 0; i < tensor.size(); ++i) {
      const auto value = static_cast<double>(buffer[tensor.offset + i]);
      squares[i / tensor.columns] += value * value;
    }
  }
  const auto statistics = measure(1);
  const MatrixStatistics& found = statistics[layout.layer(1).c_fc_weight];
  double trace = 0, mean = 0;
  for (std::size_t i = 0; i < tensor.columns; ++i)
    trace += found.covariance[i * tensor.columns + i];
  const auto positions = static_cast<double>(tokens_.size() - 1);
  for (const double square : squares)
    mean += square / positions / trace / static_cast<double>(tensor.rows);
  for (std::size_t row = 0; row < tensor.rows; ++row) {
    const double expected = squares[row] / positions / trace + 0.1 * mean;
    EXPECT_NEAR(found.weights[row], expected, 1e-5 * expected) << row;
  }
}

}  // namespace
}  // namespace cllm::compress
