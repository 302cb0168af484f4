#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "kernels/implementations.h"

/// Softmax cross-entropy: AVX2 against the portable implementation.
namespace cllm::kernels {
namespace {

constexpr double kU = kRoundoff;
constexpr double kDropped = 0x1p-98;  // two factors below 2^-100 of the largest are taken for 0

struct Tolerances {
  std::vector<double> losses;
  std::vector<double> gradient;
};

/// As for softmax: an exponent is the sum of two rounded differences (from the chunk's largest and
/// from the row's), the terms and the factor each have exp's error, and a chunk's sum that of its
/// additions: a 32nd of its length, which is 1024 or a 64th of the row.
Tolerances tolerances(const Array& logits, const std::vector<std::uint32_t>& targets, double scale,
                      std::size_t vocabulary) {
  Tolerances result;
  for (std::size_t row = 0; row < targets.size(); ++row) {
    const float* x = logits.data() + row * vocabulary;
    const double max = static_cast<double>(*std::max_element(x, x + vocabulary));
    const auto below = [&](std::size_t i) { return max - static_cast<double>(x[i]); };
    double sum = 0;
    double weighted = 0;
    for (std::size_t i = 0; i < vocabulary; ++i) {
      const double term = std::exp(-below(i));
      sum += term;
      weighted += term * below(i);
    }
    const double length = std::max(1024.0, static_cast<double>(vocabulary) / 64 + 32);
    const double sum_error = kU * (2 * weighted / sum + length / 32 + 9 + 8);
    // The distance of the target, the logarithm (1 ulp), and their sum.
    result.losses.push_back(sum_error + static_cast<double>(vocabulary) * kDropped +
                            kU * (2 * below(targets[row]) + 4 * std::log(sum)) + 0x1p-149);
    for (std::size_t i = 0; i < vocabulary; ++i) {
      const double p = std::exp(-below(i)) / sum;
      const double error = p * (2 * kU * below(i) + sum_error + 12 * kU) + kDropped;
      result.gradient.push_back(scale * (i == targets[row] ? error + 2 * kU : error));
    }
  }
  return result;
}

void check(const Array& logits, std::size_t rows, std::size_t vocabulary) {
  const float scale = 1.0f / 3;
  const std::vector<std::uint32_t> targets = targets_for(rows, vocabulary);
  const Tolerances allowed = tolerances(logits, targets, static_cast<double>(scale), vocabulary);
  expect_implementations_agree({.name = "cross_entropy",
                                .arrays = {logits, Array(rows)},
                                .tolerances = {{}, allowed.losses},
                                .call = [=](const Kernels& k, float* const* p) {
                                  k.cross_entropy(p[0], targets.data(), p[1], rows, vocabulary);
                                }});
  expect_implementations_agree({.name = "cross_entropy_backward",
                                .arrays = {logits, Array(rows)},
                                .tolerances = {allowed.gradient, allowed.losses},
                                .call = [=](const Kernels& k, float* const* p) {
                                  k.cross_entropy_backward(p[0], targets.data(), p[1], scale, rows,
                                                           vocabulary);
                                }});
}

/// Around the chunks' boundaries too: 1024 up to 65,536 tokens, longer ones above.
std::vector<std::size_t> vocabularies() {
  std::vector<std::size_t> result = {2047, 2048, 2049, 50257, 65536, 65537, 70001};
  for (const std::size_t n : lengths()) {
    if (n > 0) {
      result.push_back(n);
    }
  }
  return result;
}

TEST(LossTest, Implementations) {
  for (const std::size_t vocabulary : vocabularies()) {
    for (const std::size_t rows : {1U, 3U}) {
      check(normal_array(rows * vocabulary, 3, 1), rows, vocabulary);
    }
  }
}

TEST(LossTest, Extremes) {
  for (const std::size_t vocabulary : {1U, 2U, 9U, 500U, 3001U}) {
    const std::size_t n = 2 * vocabulary;
    check(Array(n, 0.0f), 2, vocabulary);
    check(Array(n, 1e4f), 2, vocabulary);
    check(normal_array(n, 1e4, 2), 2, vocabulary);
    // Tokens that can't occur, whole chunks of them.
    Array impossible(n, -std::numeric_limits<float>::infinity());
    for (const std::uint32_t target : targets_for(2, vocabulary)) {
      impossible[target] = 1;
      impossible[vocabulary + target] = 2;
    }
    const std::vector<std::uint32_t> targets = targets_for(2, vocabulary);
    expect_implementations_agree({.name = "cross_entropy_backward with -inf",
                                  .arrays = {impossible, Array(2)},
                                  .tolerances = {std::vector<double>(n, 4 * kU), {8 * kU, 8 * kU}},
                                  .call = [=](const Kernels& k, float* const* p) {
                                    k.cross_entropy_backward(p[0], targets.data(), p[1], 1, 2,
                                                             vocabulary);
                                  }});
  }
}

TEST(LossTest, BothKernelsGiveTheSameBits) {
  for (const Kernels* kernels : runnable_kernels()) {
    for (const std::size_t vocabulary : {5U, 97U, 4096U, 50257U}) {
      const std::vector<std::uint32_t> targets = targets_for(2, vocabulary);
      Array logits = normal_array(2 * vocabulary, 3, 1);
      Array forward(2);
      Array backward(2);
      kernels->cross_entropy(logits.data(), targets.data(), forward.data(), 2, vocabulary);
      kernels->cross_entropy_backward(logits.data(), targets.data(), backward.data(), 1, 2,
                                      vocabulary);
      EXPECT_EQ(forward, backward) << kernels->name << " " << vocabulary;
    }
  }
}

TEST(LossTest, TargetsThatDoNotCountHaveNoLossAndNoGradient) {
  for (const Kernels* kernels : runnable_kernels()) {
    for (const std::size_t vocabulary : {1U, 7U, 300U, 3001U}) {
      constexpr std::size_t kRows = 4;
      std::vector<std::uint32_t> targets = targets_for(kRows, vocabulary);
      const std::vector<std::uint32_t> all = targets;
      targets[1] = targets[3] = kNoTarget;
      const Array logits = normal_array(kRows * vocabulary, 3, 1);
      Array spoilt = logits;  // nobody looks at what doesn't count
      spoilt[vocabulary] = spoilt[4 * vocabulary - 1] = std::numeric_limits<float>::quiet_NaN();
      using Backward = std::function<void(float*, const std::uint32_t*, float*)>;
      const Backward plain = [&](float* x, const std::uint32_t* t, float* losses) {
        kernels->cross_entropy_backward(x, t, losses, 0.25f, kRows, vocabulary);
      };
      const Backward capped = [&](float* x, const std::uint32_t* t, float* losses) {
        kernels->capped_cross_entropy_backward(x, t, losses, 5, 0.25f, kRows, vocabulary);
      };
      for (const Backward& backward : {plain, capped}) {
        Array whole = logits, some = spoilt, whole_losses(kRows), losses(kRows, 9.0f);
        backward(whole.data(), all.data(), whole_losses.data());
        backward(some.data(), targets.data(), losses.data());
        for (std::size_t row = 0; row < kRows; ++row) {
          const bool counts = row % 2 == 0;
          EXPECT_EQ(losses[row], counts ? whole_losses[row] : 0);
          for (std::size_t i = row * vocabulary; i < (row + 1) * vocabulary; ++i) {
            EXPECT_EQ(some[i], counts ? whole[i] : 0);
          }
        }
      }
      Array losses(kRows, 9.0f), whole_losses(kRows);
      kernels->cross_entropy(spoilt.data(), targets.data(), losses.data(), kRows, vocabulary);
      kernels->cross_entropy(logits.data(), all.data(), whole_losses.data(), kRows, vocabulary);
      EXPECT_EQ(losses, (Array{whole_losses[0], 0, whole_losses[2], 0}));
    }
  }
}

TEST(LossTest, NaNAndInfinityAreNotHidden) {
  for (const Kernels* kernels : runnable_kernels()) {
    for (const float bad :
         {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
      for (const std::size_t at : {0U, 31U, 1500U, 2999U}) {
        Array logits = normal_array(3000, 1, 1);
        logits[at] = bad;
        const std::uint32_t target = 5;
        float loss = 0;
        kernels->cross_entropy(logits.data(), &target, &loss, 1, 3000);
        EXPECT_TRUE(std::isnan(loss)) << kernels->name << " " << bad << " at " << at;
        kernels->cross_entropy_backward(logits.data(), &target, &loss, 1, 1, 3000);
        EXPECT_TRUE(std::isnan(loss)) << kernels->name << " " << bad << " at " << at;
      }
    }
  }
}

}  // namespace
}  // namespace cllm::kernels
