#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/implementations.h"

/// Softcap and the cross-entropy of what it caps: AVX2 against the portable implementation.
namespace cllm::kernels {
namespace {

constexpr double kU = kRoundoff;
constexpr double kDropped = 0x1p-98;  // two factors below 2^-100 of the largest are taken for 0

double capped(float x, double cap) { return cap * std::tanh(static_cast<double>(x) / cap); }

/// The relative error of AVX2's capped value: the argument has two roundings, of which tanh sees at
/// most all; an ulp is at most 2 u of the number; the product adds one, portable one, and one more
/// stands for all products of errors.
constexpr double kCapError = (2 + 2 * kTanhUlps + 3) * kU;

std::vector<double> softcap_tolerance(const Array& x, double cap) {
  std::vector<double> result;
  for (const float each : x) {
    result.push_back(std::abs(capped(each, cap)) * kCapError + cap * 0x1p-148);
  }
  return result;
}

void check_softcap(const Array& x, float cap) {
  expect_implementations_agree(
      {.name = "softcap",
       .arrays = {x},
       .tolerances = {softcap_tolerance(x, static_cast<double>(cap))},
       .call = [=](const Kernels& k, float* const* p) { k.softcap(p[0], cap, x.size()); }});
}

TEST(SoftcapTest, Implementations) {
  for (const std::size_t n : lengths()) {
    check_softcap(normal_array(n, 20, 1), 15);
    check_softcap(normal_array(n, 2, 2), 30);
  }
  constexpr float kInf = std::numeric_limits<float>::infinity();
  const Array extremes = {0,    -0.0f, 1e-30f, -1e-30f, 29,   -31,
                          1e4f, -1e4f, 1e9f,   -1e9f,   kInf, std::nanf("")};
  for (const float cap : {0.1f, 15.0f, 30.0f, 1e4f}) check_softcap(extremes, cap);
}

struct Tolerances {
  std::vector<double> losses;
  std::vector<double> gradient;
};

/// As for cross_entropy (loss_test.cc), with capped values that are off by up to kCapError of the
/// largest in size, both a term's own and the maximum that is taken from it. The slope is
/// 1 - tanh^2, with twice the error of tanh and portable's.
Tolerances tolerances(const Array& logits, const std::vector<std::uint32_t>& targets, double cap,
                      double scale, std::size_t vocabulary) {
  Tolerances result;
  for (std::size_t row = 0; row < targets.size(); ++row) {
    std::vector<double> c(vocabulary);
    double max = -cap, size = 0;
    for (std::size_t i = 0; i < vocabulary; ++i) {
      c[i] = capped(logits[row * vocabulary + i], cap);
      max = std::max(max, c[i]);
      size = std::max(size, std::abs(c[i]));
    }
    double sum = 0, weighted = 0;
    for (const double each : c) {
      sum += std::exp(each - max);
      weighted += std::exp(each - max) * (max - each);
    }
    const double values_error = 2 * kCapError * size;
    const double length = std::max(1024.0, static_cast<double>(vocabulary) / 64 + 32);
    const double sum_error = kU * (2 * weighted / sum + length / 32 + 9 + 8) + values_error;
    const double target_below = max - c[targets[row]];
    result.losses.push_back(sum_error + values_error + static_cast<double>(vocabulary) * kDropped +
                            kU * (2 * target_below + 4 * std::log(sum)) + 0x1p-149);
    for (std::size_t i = 0; i < vocabulary; ++i) {
      const double p = std::exp(c[i] - max) / sum;
      const double share = i == targets[row] ? 1 + p : p;
      const double tanh = c[i] / cap;
      const double slope_error = 2 * tanh * tanh * kCapError + 2 * kU;
      const double error =
          p * (2 * kU * (max - c[i]) + sum_error + values_error + 12 * kU) + 2 * kU * share;
      result.gradient.push_back(scale *
                                (error * (1 - tanh * tanh) + share * slope_error + kDropped));
    }
  }
  return result;
}

void check(const Array& logits, std::size_t rows, std::size_t vocabulary, float cap) {
  const float scale = 1.0f / 3;
  const std::vector<std::uint32_t> targets = targets_for(rows, vocabulary);
  const Tolerances allowed =
      tolerances(logits, targets, static_cast<double>(cap), static_cast<double>(scale), vocabulary);
  expect_implementations_agree({.name = "capped_cross_entropy_backward",
                                .arrays = {logits, Array(rows)},
                                .tolerances = {allowed.gradient, allowed.losses},
                                .call = [=](const Kernels& k, float* const* p) {
                                  k.capped_cross_entropy_backward(p[0], targets.data(), p[1], cap,
                                                                  scale, rows, vocabulary);
                                }});
}

TEST(CappedCrossEntropyTest, Implementations) {
  // Around the chunks' boundaries too: 1024 up to 65,536 tokens, longer ones above.
  std::vector<std::size_t> vocabularies = {2047, 2048, 2049, 50257, 65537};
  for (const std::size_t n : lengths()) {
    if (n > 0) vocabularies.push_back(n);
  }
  for (const std::size_t vocabulary : vocabularies) {
    check(normal_array(vocabulary, 3, 1), 1, vocabulary, 30);
    check(normal_array(3 * vocabulary, 20, 1), 3, vocabulary, 15);
  }
}

TEST(CappedCrossEntropyTest, Extremes) {
  for (const std::size_t vocabulary : {1U, 2U, 9U, 500U, 3001U}) {
    const std::size_t n = 2 * vocabulary;
    check(Array(n, 0.0f), 2, vocabulary, 30);
    check(Array(n, 1e4f), 2, vocabulary, 30);
    check(normal_array(n, 1e4, 2), 2, vocabulary, 30);
    check(normal_array(n, 1e4, 2), 2, vocabulary, 200);  // probabilities that become 0
    Array impossible(n, -std::numeric_limits<float>::infinity());
    check(impossible, 2, vocabulary, 30);
    impossible[vocabulary - 1] = 1;
    check(impossible, 2, vocabulary, 30);
  }
}

TEST(CappedCrossEntropyTest, LossesHaveTheBitsOfSoftcapAndCrossEntropy) {
  for (const Kernels* kernels : runnable_kernels()) {
    for (const std::size_t vocabulary : {5U, 97U, 4096U, 50257U}) {
      const std::vector<std::uint32_t> targets = targets_for(2, vocabulary);
      Array logits = normal_array(2 * vocabulary, 10, 1);
      Array values = logits;
      Array apart(2), losses(2);
      kernels->softcap(values.data(), 15, values.size());
      kernels->cross_entropy(values.data(), targets.data(), apart.data(), 2, vocabulary);
      kernels->capped_cross_entropy_backward(logits.data(), targets.data(), losses.data(), 15, 1, 2,
                                             vocabulary);
      EXPECT_EQ(apart, losses) << kernels->name << " " << vocabulary;
    }
  }
}

TEST(CappedCrossEntropyTest, IsTheSameInOneCallAndRowByRow) {
  constexpr std::size_t kRows = 3, kVocabulary = 2051;
  const std::vector<std::uint32_t> targets = targets_for(kRows, kVocabulary);
  for (const Kernels* kernels : runnable_kernels()) {
    Array logits = normal_array(kRows * kVocabulary, 10, 1);
    Array by_row = logits;
    Array losses(kRows), losses_by_row(kRows);
    kernels->capped_cross_entropy_backward(logits.data(), targets.data(), losses.data(), 15, 1,
                                           kRows, kVocabulary);
    for (std::size_t row = 0; row < kRows; ++row) {
      kernels->capped_cross_entropy_backward(by_row.data() + row * kVocabulary, &targets[row],
                                             &losses_by_row[row], 15, 1, 1, kVocabulary);
    }
    EXPECT_EQ(logits, by_row) << kernels->name;
    EXPECT_EQ(losses, losses_by_row) << kernels->name;
  }
}

// An infinite logit is no error here: its cap is finite.
TEST(CappedCrossEntropyTest, NaNIsNotHidden) {
  for (const Kernels* kernels : runnable_kernels()) {
    for (const std::size_t at : {0U, 31U, 1500U, 2999U}) {
      Array logits = normal_array(3000, 1, 1);
      logits[at] = std::numeric_limits<float>::quiet_NaN();
      const std::uint32_t target = 5;
      float loss = 0;
      kernels->capped_cross_entropy_backward(logits.data(), &target, &loss, 30, 1, 1, 3000);
      EXPECT_TRUE(std::isnan(loss)) << kernels->name << " at " << at;
      EXPECT_TRUE(std::isnan(logits[7])) << kernels->name << " at " << at;
    }
  }
}

}  // namespace
}  // namespace cllm::kernels
