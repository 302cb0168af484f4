#include <algorithm>
#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "kernels/implementations.h"

/// Every backward kernel against central differences of its forward function, written here in
/// double from its definition. The step h leaves h^2/6 |f'''| and 2^-53 |f| / h, both below 1e-9
/// here, so that the tolerances are those of float: so many roundings of the parts of a result.
namespace cllm::kernels {
namespace {

constexpr double kU = kRoundoff;
constexpr double kStep = 1e-5;
constexpr double kDifferenceError = 2e-9;

using Doubles = std::vector<double>;

Doubles to_double(const Array& x) { return Doubles(x.begin(), x.end()); }

Doubles central_differences(const std::function<double(const Doubles&)>& f, Doubles x) {
  Doubles gradient(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double at = x[i];
    x[i] = at + kStep;
    const double above = f(x);
    x[i] = at - kStep;
    const double below = f(x);
    x[i] = at;
    gradient[i] = (above - below) / (2 * kStep);
  }
  return gradient;
}

void expect_near(const Array& actual, const Doubles& expected, double tolerance,
                 const std::string& what) {
  ASSERT_EQ(actual.size(), expected.size());
  for (std::size_t i = 0; i < actual.size(); ++i) {
    EXPECT_NEAR(actual[i], expected[i], tolerance) << what << " at " << i;
  }
}

class GradientTest : public ::testing::TestWithParam<std::string> {
 protected:
  static const Kernels& kernels() { return find_kernels(GetParam()); }
};

double gelu(double x) {
  return x / 2 * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
}

TEST_P(GradientTest, Gelu) {
  Array x;
  for (int i = -120; i <= 120; ++i) {
    x.push_back(static_cast<float>(i) * 0.1f + 0.01f);
  }
  const Array dy = normal_array(x.size(), 1, 1);
  Array dx(x.size());
  kernels().gelu_backward(x.data(), dy.data(), dx.data(), x.size());
  const Doubles expected = central_differences(
      [&](const Doubles& values) {
        double sum = 0;
        for (std::size_t i = 0; i < values.size(); ++i) {
          sum += static_cast<double>(dy[i]) * gelu(values[i]);
        }
        return sum;
      },
      to_double(x));
  // gelu' is at most 1.13 and dy below 4; where gate (1 - gate) isn't negligible the exponent is
  // below 10, so that fewer than 100 roundings count. The sum is about 1000 over 2e-5.
  expect_near(dx, expected, 4 * 100 * kU + 1000 * 0x1p-53 / kStep, kernels().name);
}

TEST_P(GradientTest, Layernorm) {
  constexpr std::size_t kRows = 5;
  constexpr std::size_t kChannels = 19;
  const Array x = normal_array(kRows * kChannels, 1, 1);
  const Array gain = normal_array(kChannels, 1, 2);
  const Array shift = normal_array(kChannels, 1, 3);
  const Array dy = normal_array(kRows * kChannels, 1, 4);
  const auto loss = [&](const Doubles& x_in, const Doubles& gain_in, const Doubles& shift_in) {
    double sum = 0;
    for (std::size_t row = 0; row < kRows; ++row) {
      const double* x_row = x_in.data() + row * kChannels;
      double mean = 0;
      double variance = 0;
      for (std::size_t c = 0; c < kChannels; ++c) {
        mean += x_row[c] / kChannels;
      }
      for (std::size_t c = 0; c < kChannels; ++c) {
        variance += (x_row[c] - mean) * (x_row[c] - mean) / kChannels;
      }
      for (std::size_t c = 0; c < kChannels; ++c) {
        const double normal = (x_row[c] - mean) / std::sqrt(variance + 1e-5);
        sum += static_cast<double>(dy[row * kChannels + c]) * (normal * gain_in[c] + shift_in[c]);
      }
    }
    return sum;
  };
  Array y(x.size());
  Array mean(kRows);
  Array rstd(kRows);
  kernels().layernorm(x.data(), gain.data(), shift.data(), y.data(), mean.data(), rstd.data(),
                      kRows, kChannels);
  // The kernel adds to what is there.
  const Array start = normal_array(x.size(), 1, 5);
  Array dx = start;
  Array dgain(kChannels, 1.0f);
  Array dshift(kChannels, -1.0f);
  kernels().layernorm_backward(dy.data(), x.data(), mean.data(), rstd.data(), gain.data(),
                               dx.data(), dgain.data(), dshift.data(), kRows, kChannels);

  const Doubles x_in = to_double(x);
  const Doubles gain_in = to_double(gain);
  const Doubles shift_in = to_double(shift);
  Doubles dx_expected =
      central_differences([&](const Doubles& v) { return loss(v, gain_in, shift_in); }, x_in);
  Doubles dgain_expected =
      central_differences([&](const Doubles& v) { return loss(x_in, v, shift_in); }, gain_in);
  Doubles dshift_expected =
      central_differences([&](const Doubles& v) { return loss(x_in, gain_in, v); }, shift_in);
  for (std::size_t i = 0; i < dx_expected.size(); ++i) {
    dx_expected[i] += static_cast<double>(start[i]);
  }
  for (std::size_t c = 0; c < kChannels; ++c) {
    dgain_expected[c] += 1;
    dshift_expected[c] -= 1;
  }
  // Parts below 30 (dy, gain and the normalised row below 3, rstd about 1), 24 roundings.
  const double tolerance = 30 * 24 * kU + kDifferenceError;
  expect_near(dx, dx_expected, tolerance, "dx");
  expect_near(dgain, dgain_expected, tolerance, "dgain");
  expect_near(dshift, dshift_expected, tolerance, "dshift");
}

TEST_P(GradientTest, Swiglu) {
  constexpr std::size_t kRows = 2;
  constexpr std::size_t kWidth = 61;
  Array x = normal_array(kRows * 2 * kWidth, 1, 1);
  for (std::size_t i = 0; i < kWidth; ++i) {
    x[i] = static_cast<float>(i) * 0.4f - 12.01f;
  }
  const Array dy = normal_array(kRows * kWidth, 1, 2);
  Array dx(x.size());
  kernels().swiglu_backward(x.data(), dy.data(), dx.data(), kRows, kWidth);
  const Doubles expected = central_differences(
      [&](const Doubles& values) {
        double sum = 0;
        for (std::size_t row = 0; row < kRows; ++row) {
          for (std::size_t i = 0; i < kWidth; ++i) {
            const double gate = values[row * 2 * kWidth + i];
            const double value = values[row * 2 * kWidth + kWidth + i];
            sum += static_cast<double>(dy[row * kWidth + i]) * gate / (1 + std::exp(-gate)) * value;
          }
        }
        return sum;
      },
      to_double(x));
  // dy and value below 4, the slope at most 1.1, the gate at most 12.4; fewer than 30 roundings.
  // The sum's parts add up to less than 500, of which 2^-53 each is lost, over 2e-5.
  expect_near(dx, expected, 4 * 16 * 30 * kU + 500 * 0x1p-53 / kStep + kDifferenceError,
              kernels().name);
}

TEST_P(GradientTest, Relu2) {
  Array x;
  for (int i = -60; i <= 60; ++i) {
    x.push_back(static_cast<float>(i) * 0.1f + 0.01f);
  }
  const Array dy = normal_array(x.size(), 1, 1);
  Array dx(x.size());
  kernels().relu2_backward(x.data(), dy.data(), dx.data(), x.size());
  const Doubles expected = central_differences(
      [&](const Doubles& values) {
        double sum = 0;
        for (std::size_t i = 0; i < values.size(); ++i) {
          sum += static_cast<double>(dy[i]) * std::pow(std::max(0.0, values[i]), 2);
        }
        return sum;
      },
      to_double(x));
  // dy below 4, 2x below 13, one rounding; the sum's parts add up to less than 1000.
  expect_near(dx, expected, 4 * 13 * kU + 1000 * 0x1p-53 / kStep, kernels().name);
}

TEST_P(GradientTest, Rmsnorm) {
  constexpr std::size_t kRows = 3;
  constexpr std::size_t kHeads = 2;
  constexpr std::size_t kSize = 19;
  constexpr std::size_t kColumns = kHeads * kSize;
  const float epsilon = 1e-5f;
  const Array x = normal_array(kRows * kColumns, 1, 1);
  const Array gain = normal_array(kSize, 1, 2);
  const Array dy = normal_array(kRows * kColumns, 1, 4);
  const auto loss = [&](const Doubles& x_in, const Doubles& gain_in) {
    double sum = 0;
    for (std::size_t head = 0; head < kRows * kHeads; ++head) {
      double squares = 0;
      for (std::size_t i = 0; i < kSize; ++i) {
        squares += x_in[head * kSize + i] * x_in[head * kSize + i];
      }
      const double root = std::sqrt(squares / kSize + static_cast<double>(epsilon));
      for (std::size_t i = 0; i < kSize; ++i) {
        sum +=
            static_cast<double>(dy[head * kSize + i]) * x_in[head * kSize + i] / root * gain_in[i];
      }
    }
    return sum;
  };
  Array y(x.size());
  Array rstd(kRows * kHeads);
  kernels().rmsnorm(x.data(), kColumns, gain.data(), y.data(), kColumns, rstd.data(), epsilon,
                    kRows, kHeads, kSize);
  const Array base = normal_array(x.size(), 1, 5);
  Array dx(x.size()), dx_without_gain(x.size());
  Array dgain(kSize, 1.0f);  // the kernel adds to what is there
  kernels().rmsnorm_backward(dy.data(), kColumns, x.data(), kColumns, rstd.data(), gain.data(),
                             base.data(), dx.data(), kColumns, dgain.data(), kRows, kHeads, kSize);
  kernels().rmsnorm_backward(dy.data(), kColumns, x.data(), kColumns, rstd.data(), nullptr, nullptr,
                             dx_without_gain.data(), kColumns, nullptr, kRows, kHeads, kSize);

  const Doubles x_in = to_double(x);
  const Doubles gain_in = to_double(gain);
  const Doubles ones(kSize, 1.0);
  Doubles dx_expected =
      central_differences([&](const Doubles& v) { return loss(v, gain_in); }, x_in);
  Doubles dgain_expected =
      central_differences([&](const Doubles& v) { return loss(x_in, v); }, gain_in);
  for (std::size_t i = 0; i < dx_expected.size(); ++i) {
    dx_expected[i] += static_cast<double>(base[i]);
  }
  for (double& each : dgain_expected) each += 1;
  // Parts below 30 (dy, gain and the normalised row below 3, rstd about 1), 24 roundings.
  const double tolerance = 30 * 24 * kU + kDifferenceError;
  expect_near(dx, dx_expected, tolerance, "dx");
  expect_near(dgain, dgain_expected, tolerance, "dgain");
  expect_near(dx_without_gain,
              central_differences([&](const Doubles& v) { return loss(v, ones); }, x_in), tolerance,
              "dx without a gain");
}

TEST_P(GradientTest, Rotate) {
  constexpr std::size_t kRows = 2;
  constexpr std::size_t kHeads = 3;
  constexpr std::size_t kSize = 10;
  constexpr std::size_t kColumns = kHeads * kSize;
  const Array x = normal_array(kRows * kColumns, 1, 1);
  const Array dy = normal_array(kRows * kColumns, 1, 2);
  Array cosines, sines;
  for (std::size_t i = 0; i < kRows * kSize / 2; ++i) {
    cosines.push_back(static_cast<float>(std::cos(static_cast<double>(i) * 0.7)));
    sines.push_back(static_cast<float>(std::sin(static_cast<double>(i) * 0.7)));
  }
  const auto loss = [&](const Doubles& values) {
    double sum = 0;
    for (std::size_t i = 0; i < values.size(); ++i) {
      const std::size_t in_head = i % kSize, pair = in_head % (kSize / 2);
      const std::size_t angle = i / kColumns * kSize / 2 + pair;
      const double cosine = cosines[angle], sine = sines[angle];
      const double y = in_head < kSize / 2 ? values[i] * cosine - values[i + kSize / 2] * sine
                                           : values[i] * cosine + values[i - kSize / 2] * sine;
      sum += static_cast<double>(dy[i]) * y;
    }
    return sum;
  };
  // The gradient of a rotation is the rotation back.
  Array dx(x.size());
  kernels().rotate(dy.data(), kColumns, cosines.data(), sines.data(), -1, dx.data(), kColumns,
                   kRows, kHeads, kSize);
  // Two products below 4 and their sum.
  expect_near(dx, central_differences(loss, to_double(x)), 3 * 8 * kU + kDifferenceError,
              kernels().name);
}

TEST_P(GradientTest, CappedCrossEntropy) {
  constexpr std::size_t kRows = 3;
  constexpr std::size_t kVocabulary = 43;
  const float scale = 0.25f, cap = 6;
  const std::vector<std::uint32_t> targets = {0, 42, 17};
  const Array logits = normal_array(kRows * kVocabulary, 4, 1);
  const auto loss = [&](const Doubles& x) {
    const auto capped = [&](double each) {
      return static_cast<double>(cap) * std::tanh(each / static_cast<double>(cap));
    };
    double sum = 0;
    for (std::size_t row = 0; row < kRows; ++row) {
      double total = 0;
      for (std::size_t i = 0; i < kVocabulary; ++i) {
        total += std::exp(capped(x[row * kVocabulary + i]));
      }
      sum += std::log(total) - capped(x[row * kVocabulary + targets[row]]);
    }
    return static_cast<double>(scale) * sum;
  };
  const Doubles expected = central_differences(loss, to_double(logits));
  Array gradient = logits;
  Array losses(kRows);
  kernels().capped_cross_entropy_backward(gradient.data(), targets.data(), losses.data(), cap,
                                          scale, kRows, kVocabulary);
  // Exponents down to -12, their parts with 10 roundings each of at most 6, and 20 more;
  // probabilities and slopes at most 1.
  expect_near(gradient, expected, static_cast<double>(scale) * 160 * kU + kDifferenceError,
              kernels().name);
  double sum = 0;
  for (const float each : losses) {
    sum += static_cast<double>(each);
  }
  EXPECT_NEAR(static_cast<double>(scale) * sum, loss(to_double(logits)), 3 * 12 * 60 * kU);
}

TEST_P(GradientTest, CrossEntropy) {
  constexpr std::size_t kRows = 3;
  constexpr std::size_t kVocabulary = 43;
  const float scale = 0.25f;
  const std::vector<std::uint32_t> targets = {0, 42, 17};
  const Array logits = normal_array(kRows * kVocabulary, 2, 1);
  const auto loss = [&](const Doubles& x) {
    double sum = 0;
    for (std::size_t row = 0; row < kRows; ++row) {
      double total = 0;
      for (std::size_t i = 0; i < kVocabulary; ++i) {
        total += std::exp(x[row * kVocabulary + i]);
      }
      sum += std::log(total) - x[row * kVocabulary + targets[row]];
    }
    return static_cast<double>(scale) * sum;
  };
  const Doubles expected = central_differences(loss, to_double(logits));
  Array gradient = logits;
  Array losses(kRows);
  kernels().cross_entropy_backward(gradient.data(), targets.data(), losses.data(), scale, kRows,
                                   kVocabulary);
  // Exponents down to -15, two roundings each, and 20 more; probabilities below 1.
  expect_near(gradient, expected, static_cast<double>(scale) * 50 * kU + kDifferenceError,
              kernels().name);
  double sum = 0;
  for (const float each : losses) {
    sum += static_cast<double>(each);
  }
  EXPECT_NEAR(static_cast<double>(scale) * sum, loss(to_double(logits)), 3 * 15 * 50 * kU);
}

TEST_P(GradientTest, Attention) {
  constexpr std::size_t kSize = 3, kPositions = 7, kFloats = kPositions * kSize;
  const std::vector<std::uint32_t> begins = {0, 0, 0, 2, 2, 5, 5};
  const Array inputs = normal_array(3 * kFloats, 1, 1), dout = normal_array(kFloats, 1, 2);
  // Of q, k and v, one behind the other.
  const auto loss = [&](const Doubles& x) {
    double sum = 0;
    for (std::size_t query = 0; query < kPositions; ++query) {
      double total = 0, weighted = 0;
      for (std::size_t key = begins[query]; key <= query; ++key) {
        double score = 0, value = 0;
        for (std::size_t c = 0; c < kSize; ++c) {
          score += x[query * kSize + c] * x[kFloats + key * kSize + c];
          value += x[2 * kFloats + key * kSize + c] * static_cast<double>(dout[query * kSize + c]);
        }
        const double power = std::exp(score / std::sqrt(static_cast<double>(kSize)));
        total += power;
        weighted += power * value;
      }
      sum += weighted / total;
    }
    return sum;
  };
  Array workspace(attention_workspace(kSize, kPositions)), out(kFloats), log_sum_exp(kPositions);
  const AttentionHead head{.size = kSize,
                           .positions = kPositions,
                           .past = 0,
                           .q = {inputs.data(), kSize},
                           .k = {inputs.data() + kFloats, kSize},
                           .v = {inputs.data() + 2 * kFloats, kSize},
                           .begins = begins.data(),
                           .workspace = workspace.data()};
  kernels().attention_forward(head, {out.data(), kSize}, log_sum_exp.data());
  Array gradients(3 * kFloats);
  kernels().attention_backward(head, {.out = {out.data(), kSize},
                                      .dout = {dout.data(), kSize},
                                      .log_sum_exp = log_sum_exp.data(),
                                      .dq = {gradients.data(), kSize},
                                      .dk = {gradients.data() + kFloats, kSize},
                                      .dv = {gradients.data() + 2 * kFloats, kSize},
                                      .adds_to_keys = false});
  // Up to seven terms of probabilities with 30 roundings, differences below 8 and inputs below 3.
  expect_near(gradients, central_differences(loss, to_double(inputs)),
              7 * 8 * 3 * 50 * kU + kDifferenceError, kernels().name);
}

std::vector<std::string> names() {
  std::vector<std::string> result;
  for (const Kernels* kernels : runnable_kernels()) {
    result.push_back(kernels->name);
  }
  return result;
}

INSTANTIATE_TEST_SUITE_P(Implementations, GradientTest, ::testing::ValuesIn(names()),
                         [](const auto& kind) { return kind.param; });

}  // namespace
}  // namespace cllm::kernels
