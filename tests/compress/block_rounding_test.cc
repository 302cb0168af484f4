#include "cllm/compress/block_rounding.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "cllm/base/random.h"
#include "cllm/kernels/kernels.h"
#include "support/error_of.h"
#include "support/example.h"

namespace cllm::compress {
namespace {

using io::ElementType;

constexpr std::size_t kRows = 70, kColumns = 96;

std::vector<float> random_weights(std::uint64_t seed) {
  RandomStream random(seed, 0);
  std::vector<float> weights(kRows * kColumns);
  for (float& weight : weights) weight = static_cast<float>(random.normal());
  return weights;
}

/// Of inputs that go together: a few directions have most of the variance.
std::vector<double> correlated() {
  RandomStream random(5, 0);
  std::vector<double> mixing(kColumns * kColumns), covariance(kColumns * kColumns);
  for (std::size_t i = 0; i < mixing.size(); ++i) {
    mixing[i] = random.normal() * std::pow(0.9, static_cast<double>(i % kColumns));
  }
  for (std::size_t i = 0; i < kColumns; ++i) {
    for (std::size_t j = 0; j < kColumns; ++j) {
      for (std::size_t k = 0; k < kColumns; ++k) {
        covariance[i * kColumns + j] += mixing[i * kColumns + k] * mixing[j * kColumns + k];
      }
    }
  }
  return covariance;
}

/// The squared error of the outputs.
double energy(const std::vector<float>& a, const std::vector<float>& b,
              const std::vector<double>& covariance) {
  double sum = 0;
  for (std::size_t row = 0; row < kRows; ++row) {
    for (std::size_t i = 0; i < kColumns; ++i) {
      for (std::size_t j = 0; j < kColumns; ++j) {
        const auto error = [&](std::size_t column) {
          return static_cast<double>(a[row * kColumns + column]) -
                 static_cast<double>(b[row * kColumns + column]);
        };
        sum += error(i) * covariance[i * kColumns + j] * error(j);
      }
    }
  }
  return sum;
}

std::vector<float> stored(ElementType type, const std::vector<float>& weights) {
  std::vector<std::byte> bytes(io::bytes_of(type, weights.size()));
  EXPECT_TRUE(io::encode(type, weights, bytes));
  std::vector<float> result(weights.size());
  io::decode(type, bytes, result);
  return result;
}

class BlockRoundingTest : public testing::TestWithParam<ElementType> {};

TEST_P(BlockRoundingTest, StaysAsItIsWhenItIsStored) {
  std::vector<float> weights = random_weights(1);
  weights[40] = 0;
  std::fill_n(weights.begin() + 64, 32, 0.0f);  // a block of nothing
  round_to_blocks(GetParam(), correlated(), kColumns, 1, weights);
  EXPECT_EQ(stored(GetParam(), weights), weights);
}

TEST_P(BlockRoundingTest, CostsLessThanPlainRounding) {
  const std::vector<float> weights = random_weights(2);
  const std::vector<double> covariance = correlated();
  std::vector<float> rounded = weights;
  round_to_blocks(GetParam(), covariance, kColumns, 2, rounded);
  const double plain = energy(weights, stored(GetParam(), weights), covariance);
  // With this spectrum the nearest plane's expected cost is a small part of plain rounding's.
  EXPECT_LT(energy(weights, rounded, covariance), 0.3 * plain);
  EXPECT_GT(energy(weights, rounded, covariance), 0);
}

TEST_P(BlockRoundingTest, IsPlainRoundingWhereInputsHaveNothingToDoWithEachOther) {
  if (GetParam() == ElementType::kQ4_0) return;  // tries smaller scales, too
  std::vector<float> weights = random_weights(3);
  const std::vector<float> plain = stored(GetParam(), weights);
  std::vector<double> covariance(kColumns * kColumns);
  for (std::size_t i = 0; i < kColumns; ++i) covariance[i * kColumns + i] = 2;
  round_to_blocks(GetParam(), covariance, kColumns, 1, weights);
  std::size_t same = 0;
  for (std::size_t i = 0; i < plain.size(); ++i) same += weights[i] == plain[i];
  // ggml divides by the scale before that is rounded to a half.
  EXPECT_GT(static_cast<double>(same), 0.98 * static_cast<double>(plain.size()));
}

TEST_P(BlockRoundingTest, ThreadsChangeNothing) {
  std::vector<float> one = random_weights(4), three = one;
  round_to_blocks(GetParam(), correlated(), kColumns, 1, one);
  round_to_blocks(GetParam(), correlated(), kColumns, 3, three);
  EXPECT_EQ(one, three);
}

INSTANTIATE_TEST_SUITE_P(Types, BlockRoundingTest,
                         testing::Values(ElementType::kQ8_0, ElementType::kQ4_0),
                         [](const auto& test) { return std::string(io::name_of(test.param)); });

TEST(RoundingOfModels, TakesTheMatricesThatAFileWouldRound) {
  const model::ModelConfig config{
      .layers = 1, .heads = 2, .channels = 32, .context = 16, .vocabulary = 64, .mlp_width = 40};
  const model::Model model(config, kernels::select_kernels());
  const support::Example example = support::make_example(config, 1, 16, 3);
  std::vector<std::uint32_t> tokens(600);
  RandomStream random(7, 0);
  for (auto& token : tokens) token = static_cast<std::uint32_t>(random.below(64));
  const auto statistics =
      measure_sensitivity(model, example.parameters.data(),
                          data::TokenView(std::span<const std::uint32_t>(tokens)), 0, 1);
  std::vector<float> rounded(example.parameters.begin(), example.parameters.end());
  round_to_blocks(ElementType::kQ4_0, model.layout(), statistics, 1, rounded);
  for (const model::Tensor& tensor : model.layout().tensors()) {
    const bool is_same =
        std::equal(rounded.begin() + static_cast<std::ptrdiff_t>(tensor.offset),
                   rounded.begin() + static_cast<std::ptrdiff_t>(tensor.offset + tensor.size()),
                   example.parameters.begin() + static_cast<std::ptrdiff_t>(tensor.offset));
    const bool stays = !tensor.is_matrix() || tensor.name == "wpe.weight" || tensor.columns == 40;
    EXPECT_EQ(is_same, stays) << tensor.name;
  }
}

TEST(RoundingOfModels, NamesTheMatrixWhoseStatisticsAreNotFinite) {
  const model::Layout layout(
      {.layers = 1, .heads = 2, .channels = 32, .context = 16, .vocabulary = 64});
  std::vector<MatrixStatistics> statistics;
  for (const model::Tensor& tensor : layout.tensors()) {
    statistics.push_back({AlignedBuffer<double>(tensor.columns * tensor.columns), {}});
    statistics.back().covariance.fill(std::nan(""));
  }
  std::vector<float> parameters(layout.flat_size());
  EXPECT_THAT(support::error_of(
                  [&] { round_to_blocks(ElementType::kQ4_0, layout, statistics, 1, parameters); }),
              testing::AllOf(testing::HasSubstr("wte.weight"), testing::HasSubstr("--calibrate")));
}

}  // namespace
}  // namespace cllm::compress
