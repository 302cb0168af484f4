#include "cllm/compress/compress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "cllm/base/random.h"
#include "cllm/kernels/kernels.h"
#include "cllm/lattice/certificates/certificate_code.h"
#include "cllm/lattice/coded_matrix.h"
#include "support/error_of.h"
#include "support/example.h"

namespace cllm::compress {
namespace {

using enum lattice::Method;

constexpr model::ModelConfig kModel{
    .layers = 1, .heads = 2, .channels = 32, .context = 16, .vocabulary = 64};

class CompressTest : public testing::Test {
 protected:
  CompressTest() {
    RandomStream random(7, 0);
    std::vector<std::uint32_t> tokens;
    for (int i = 0; i < 2000; ++i) {
      tokens.push_back(static_cast<std::uint32_t>(random.below(1 + random.below(64))));
    }
    statistics_ =
        measure_sensitivity(model_, example_.parameters.data(),
                            data::TokenView(std::span<const std::uint32_t>(tokens)), 0, 1);
  }

  CompressedParameters run(const CompressOptions& options) const {
    return compress(model_.layout(), example_.parameters, statistics_, options);
  }

  static double bits(const CompressedParameters& result) {
    double sum = 0, weights = 0;
    for (const MatrixReport& report : result.reports) {
      sum += report.bits * static_cast<double>(report.weights);
      weights += static_cast<double>(report.weights);
    }
    return sum / weights;
  }

  static double loss(const CompressedParameters& result) {
    double sum = 0;
    for (const MatrixReport& report : result.reports) sum += report.loss;
    return sum;
  }

  model::Model model_{kModel, kernels::select_kernels()};
  support::Example example_ = support::make_example(kModel, 1, 16, 3);
  std::vector<MatrixStatistics> statistics_;
};

TEST_F(CompressTest, TakesTheBitsThatItMay) {
  for (const lattice::Method method : {kRounding, kBabai, kReducedBabai, kE8}) {
    for (const auto spacing : {lattice::Spacing::kEqual, lattice::Spacing::kShaped}) {
      const auto result = run({.method = method, .spacing = spacing, .bits = 4});
      EXPECT_EQ(result.reports.size(), 6u);
      EXPECT_LE(bits(result), 4);
      EXPECT_GT(bits(result), 3.9) << lattice::name_of(method);
    }
  }
}

TEST_F(CompressTest, MoreBitsCostLessLossAndLatticesLessThanRounding) {
  const auto of = [&](lattice::Method method, double bits) {
    return loss(run({.method = method, .bits = bits}));
  };
  // An error falls by 4 with each bit.
  EXPECT_NEAR(of(kE8, 4) / of(kE8, 6), 16, 4);
  EXPECT_LT(of(kBabai, 4), of(kRounding, 4));
  EXPECT_LT(of(kE8, 4), of(kBabai, 4));
  EXPECT_LT(of(kRounding, 4),
            loss(run({.method = kRounding, .spacing = lattice::Spacing::kEqual, .bits = 4})));
}

TEST_F(CompressTest, ThreadsChangeNothing) {
  const auto one = run({.method = kE8, .threads = 1}), two = run({.method = kE8, .threads = 2});
  EXPECT_EQ(one.matrices.codes, two.matrices.codes);
}

TEST_F(CompressTest, ReducedBasesComeWithCertificatesThatHold) {
  const auto result = run({.method = kReducedBabai});
  for (std::size_t i = 0; i < model_.layout().tensors().size(); ++i) {
    const model::Tensor& tensor = model_.layout()[i];
    if (!tensor.is_matrix()) continue;
    EXPECT_NO_THROW(lattice::check_certificates(result.matrices.certificates[i], tensor.columns));
  }
}

TEST_F(CompressTest, WhatHasNoCodeIsRefused) {
  EXPECT_THAT(support::error_of([&] { run({.bits = 0.001}); }), testing::HasSubstr("--bits 0.001"));
}

}  // namespace
}  // namespace cllm::compress
