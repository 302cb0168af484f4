#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/implementations.h"

/// The kernels of attention: AVX2 against the portable implementation.
namespace cllm::kernels {
namespace {

constexpr double kU = kRoundoff;

/// Products below this share of the largest are taken for 0.
constexpr double kDropped = 0x1p-99;

struct Block {
  std::size_t rows;
  std::size_t columns;
  std::size_t visible;
  std::size_t ld;
};

std::vector<Block> blocks() {
  std::vector<Block> result = {{0, 8, 1, 8},   {1, 1, 1, 1},    {4, 0, 1, 0},
                               {3, 5, 100, 9}, {64, 64, 1, 64}, {16, 1024, 1000, 1031}};
  for (const std::size_t columns : lengths()) {
    if (columns > 0 && columns < 1030) {
      result.push_back({5, columns, std::max<std::size_t>(1, columns / 2), columns});
      result.push_back({3, columns, columns > 2 ? columns - 2 : 1, columns + 5});
    }
  }
  return result;
}

struct SoftmaxTolerances {
  std::vector<double> p;
  std::vector<double> log_sum_exp;
};

/// An exponent has two roundings, so its term is off by 2 u |exponent|, 2 ulp of exp (4 u) besides;
/// the sum by the mean of that over p, and by its additions; then comes a quotient and a product.
SoftmaxTolerances softmax_tolerances(const Array& scores, double scale, const Block& block) {
  SoftmaxTolerances result;
  result.p.assign(scores.size(), 0.0);
  for (std::size_t row = 0; row < block.rows; ++row) {
    const float* x = scores.data() + row * block.ld;
    const std::size_t n = std::min(block.columns, block.visible + row);
    double max = -std::numeric_limits<double>::infinity();
    for (std::size_t i = 0; i < n; ++i) {
      max = std::max(max, static_cast<double>(x[i]));
    }
    const auto exponent = [&](std::size_t i) { return scale * (static_cast<double>(x[i]) - max); };
    double sum = 0;
    double weighted = 0;
    for (std::size_t i = 0; i < n; ++i) {
      const double term = std::exp(exponent(i));
      sum += term;
      weighted += term == 0 ? 0 : term * std::abs(exponent(i));
    }
    const double depth = static_cast<double>(n) / 32 + 9;
    const double sum_error = kU * (2 * weighted / sum + depth + 4);
    for (std::size_t i = 0; i < n; ++i) {
      const double term = std::exp(exponent(i));
      const double p = term / sum;
      const double error = term == 0 ? 0 : 2 * kU * std::abs(exponent(i)) + sum_error + 8 * kU;
      result.p[row * block.ld + i] = p * error + kDropped;
    }
    result.log_sum_exp.push_back(sum_error + static_cast<double>(n) * kDropped +
                                 kU * (2 * std::abs(scale * max) + 4 * std::log(sum) + 2));
  }
  return result;
}

/// Garbage is left where keys are masked: it must become 0 without being read.
Array masked(Array scores, const Block& block) {
  for (std::size_t row = 0; row < block.rows; ++row) {
    const std::size_t n = std::min(block.columns, block.visible + row);
    std::fill_n(scores.data() + row * block.ld + n, block.columns - n, guard());
  }
  return scores;
}

void check_softmax(const Array& dense, float scale, const Block& block) {
  const Array scores = masked(with_padding(dense, block.rows, block.columns, block.ld), block);
  const SoftmaxTolerances allowed = softmax_tolerances(scores, static_cast<double>(scale), block);
  expect_implementations_agree({.name = "causal_softmax",
                                .arrays = {scores, Array(block.rows)},
                                .tolerances = {allowed.p, allowed.log_sum_exp},
                                .call = [=](const Kernels& k, float* const* p) {
                                  k.causal_softmax(p[0], p[1], scale, block.visible, nullptr,
                                                   block.rows, block.columns, block.ld);
                                }});

  // The second kernel is given the first's log-sum-exp, and both implementations the same one.
  Array p = scores;
  Array log_sum_exp(block.rows);
  reference_kernels().causal_softmax(p.data(), log_sum_exp.data(), scale, block.visible, nullptr,
                                     block.rows, block.columns, block.ld);
  std::vector<double> again(scores.size(), 0.0);
  for (std::size_t row = 0; row < block.rows; ++row) {
    const std::size_t n = std::min(block.columns, block.visible + row);
    for (std::size_t i = row * block.ld; i < row * block.ld + n; ++i) {
      const double exponent = static_cast<double>(scale) * static_cast<double>(scores[i]) -
                              static_cast<double>(log_sum_exp[row]);
      const double probability = std::exp(std::min(0.0, exponent));
      // One rounding of the exponent, and exp's.
      again[i] =
          probability == 0 ? kDropped : probability * kU * (std::abs(exponent) + 4) + kDropped;
    }
  }
  expect_implementations_agree({.name = "causal_probabilities",
                                .arrays = {scores, log_sum_exp},
                                .tolerances = {again, {}},
                                .call = [=](const Kernels& k, float* const* q) {
                                  k.causal_probabilities(q[0], q[1], scale, block.visible, nullptr,
                                                         block.rows, block.columns, block.ld);
                                }});
}

TEST(AttentionTest, Softmax) {
  for (const Block& block : blocks()) {
    check_softmax(normal_array(block.rows * block.columns, 10, 1), 0.125f, block);
  }
}

TEST(AttentionTest, SoftmaxOfExtremes) {
  for (const Block& block : {Block{6, 70, 20, 75}, Block{4, 1, 1, 3}, Block{3, 1024, 1000, 1024}}) {
    const std::size_t n = block.rows * block.columns;
    check_softmax(Array(n, 3.0f), 0.125f, block);
    check_softmax(Array(n, -1e4f), 1, block);
    check_softmax(normal_array(n, 1e4, 2), 1, block);
    check_softmax(normal_array(n, 1e30, 3), 1, block);
    // Times a scale that isn't a power of two, the logarithm is far from what it stands for.
    check_softmax(normal_array(n, 1e30, 3), 0.3f, block);
    Array one_high(n, -1e4f);
    for (std::size_t row = 0; row < block.rows; ++row) {
      one_high[row * block.columns] = 1e4f;
    }
    check_softmax(one_high, 1, block);
  }
}

/// A query whose document begins later sees what one would that has only these keys.
TEST(AttentionTest, AQuerySeesItsDocumentAlone) {
  constexpr std::size_t kRows = 5, kVisible = 40, kColumns = 44, kLd = 47;
  const std::vector<std::uint32_t> begins = {0, 1, 17, 42, 43};
  for (const Kernels* kernels : runnable_kernels()) {
    const Array dense = normal_array(kRows * kLd, 3, 1);
    Array p = dense, log_sum_exp(kRows);
    kernels->causal_softmax(p.data(), log_sum_exp.data(), 0.5f, kVisible, begins.data(), kRows,
                            kColumns, kLd);
    Array again = dense;
    kernels->causal_probabilities(again.data(), log_sum_exp.data(), 0.5f, kVisible, begins.data(),
                                  kRows, kColumns, kLd);
    for (std::size_t row = 0; row < kRows; ++row) {
      const float* const scores = dense.data() + row * kLd;
      const std::size_t begin = begins[row], end = kVisible + row;
      Array own(scores + begin, scores + end), own_again = own, own_sum(1);
      kernels->causal_softmax(own.data(), own_sum.data(), 0.5f, end - begin, nullptr, 1,
                              end - begin, end - begin);
      kernels->causal_probabilities(own_again.data(), own_sum.data(), 0.5f, end - begin, nullptr, 1,
                                    end - begin, end - begin);
      EXPECT_EQ(log_sum_exp[row], own_sum[0]);
      for (std::size_t i = 0; i < kLd; ++i) {
        const bool is_seen = i >= begin && i < end;
        const float untouched = i < kColumns ? 0 : scores[i];
        EXPECT_EQ(p[row * kLd + i], is_seen ? own[i - begin] : untouched) << row << " " << i;
        EXPECT_EQ(again[row * kLd + i], is_seen ? own_again[i - begin] : untouched);
      }
    }
  }
}

TEST(AttentionTest, SoftmaxSpreadsNaN) {
  for (const Kernels* kernels : runnable_kernels()) {
    Array scores = normal_array(40, 1, 1);
    scores[17] = std::numeric_limits<float>::quiet_NaN();
    float log_sum_exp = 0;
    kernels->causal_softmax(scores.data(), &log_sum_exp, 1, 40, nullptr, 1, 40, 40);
    EXPECT_TRUE(std::isnan(log_sum_exp)) << kernels->name;
    EXPECT_TRUE(std::all_of(scores.begin(), scores.end(), [](float p) { return std::isnan(p); }))
        << kernels->name;
  }
}

TEST(AttentionTest, ProbabilitiesSumToOne) {
  for (const Kernels* kernels : runnable_kernels()) {
    for (const std::size_t n : {1U, 7U, 64U, 1000U}) {
      Array scores = normal_array(n, 20, 1);
      float log_sum_exp = 0;
      kernels->causal_softmax(scores.data(), &log_sum_exp, 0.5f, n, nullptr, 1, n, n);
      double sum = 0;
      for (const float p : scores) {
        sum += static_cast<double>(p);
      }
      // Every p has the sum's error in common: its additions, exp's two units and the quotient;
      // and one of its own, from its exponent, of at most 2 u / e after weighting.
      EXPECT_NEAR(sum, 1, kU * (static_cast<double>(n) / 32 + 9 + 16)) << kernels->name;
    }
  }
}

TEST(AttentionTest, SoftmaxBackward) {
  for (const Block& block : blocks()) {
    const std::size_t n = block.rows * block.columns;
    const auto padded = [&](const Array& dense) {
      return with_padding(dense, block.rows, block.columns, block.ld);
    };
    const Array p = padded(normal_array(n, 1, 1));
    const Array dp = padded(normal_array(n, 1, 2));
    const Array delta = normal_array(block.rows, 1, 3);
    std::vector<double> allowed(dp.size(), 0.0);
    for (std::size_t i = 0; i < dp.size(); ++i) {
      if (!is_guard(dp[i])) {
        const double difference =
            static_cast<double>(dp[i]) - static_cast<double>(delta[i / block.ld]);
        // A difference, two products and the implementation's rounding; each relative.
        allowed[i] = 4 * kU * std::abs(0.125 * static_cast<double>(p[i]) * difference);
      }
    }
    expect_implementations_agree({.name = "softmax_backward",
                                  .arrays = {p, dp, delta},
                                  .tolerances = {{}, allowed, {}},
                                  .call = [=](const Kernels& k, float* const* q) {
                                    k.softmax_backward(q[0], q[1], q[2], 0.125f, block.rows,
                                                       block.columns, block.ld);
                                  }});
  }
}

TEST(AttentionTest, RowDots) {
  for (const Block& block : blocks()) {
    const std::size_t ldb = block.ld + 3;
    const std::size_t n = block.rows * block.columns;
    const Array a = normal_array(n, 1, 1);
    const Array b = normal_array(n, 1, 2);
    std::vector<double> allowed(block.rows);
    for (std::size_t i = 0; i < n; ++i) {
      // A product, the additions, and the implementation's rounding.
      allowed[i / block.columns] += kU * (static_cast<double>(block.columns) / 32 + 9 + 2) *
                                    std::abs(static_cast<double>(a[i]) * static_cast<double>(b[i]));
    }
    expect_implementations_agree(
        {.name = "row_dots",
         .arrays = {with_padding(a, block.rows, block.columns, block.ld),
                    with_padding(b, block.rows, block.columns, ldb), Array(block.rows)},
         .tolerances = {{}, {}, allowed},
         .call = [=](const Kernels& k, float* const* q) {
           k.row_dots(q[0], q[1], q[2], block.rows, block.columns, block.ld, ldb);
         }});
  }
}

}  // namespace
}  // namespace cllm::kernels
