#include <cmath>

#include "kernels/implementations.h"

/// LayerNorm, forward and backward: AVX2 against the portable implementation.
namespace cllm::kernels {
namespace {

constexpr double kU = kRoundoff;

struct Shape {
  std::size_t rows;
  std::size_t channels;
};

std::vector<Shape> shapes() {
  std::vector<Shape> result = {{0, 16}, {1, 768}, {2, 384}, {3, 1024}, {5, 65}, {9, 4}};
  for (const std::size_t channels : lengths()) {
    if (channels > 0 && channels < 1030) {
      result.push_back({4, channels});
      result.push_back({7, channels});
    }
  }
  return result;
}

/// The most additions that an element of a row goes through: a quarter of its vectors, the rest of
/// them, the end of the row, and the eight lanes of four vectors.
double additions(std::size_t n) { return static_cast<double>(n) / 32 + 3 + 1 + 5; }

struct Tolerances {
  std::vector<double> y;
  std::vector<double> mean;
  std::vector<double> rstd;
};

/// Higham, "Accuracy and Stability of Numerical Algorithms", 4.2: a sum is off by (additions) u
/// times the sum of magnitudes. The deviations sum to 0, so the mean's error enters the variance
/// squared; otherwise only the variance's own roundings count, and half of them in its root.
Tolerances tolerances(const Array& x, const Array& gain, std::size_t rows, std::size_t channels) {
  Tolerances result;
  const double count = static_cast<double>(channels);
  const double depth = additions(channels) + 2;
  for (std::size_t row = 0; row < rows; ++row) {
    const float* x_row = x.data() + row * channels;
    double sum = 0;
    double magnitudes = 0;
    for (std::size_t c = 0; c < channels; ++c) {
      sum += static_cast<double>(x_row[c]);
      magnitudes += std::abs(static_cast<double>(x_row[c]));
    }
    const double mean = sum / count;
    double squares = 0;
    for (std::size_t c = 0; c < channels; ++c) {
      squares += std::pow(static_cast<double>(x_row[c]) - mean, 2);
    }
    const double rstd = 1 / std::sqrt(squares / count + 1e-5);
    const double mean_error = depth * kU * magnitudes / count + kU * std::abs(mean);
    const double rstd_error = (depth / 2 + 6) * kU + std::pow(mean_error * rstd, 2);
    result.mean.push_back(mean_error);
    result.rstd.push_back(rstd * rstd_error);
    for (std::size_t c = 0; c < channels; ++c) {
      const double normal = std::abs(static_cast<double>(x_row[c]) - mean) * rstd;
      const double scale = std::abs(static_cast<double>(gain[c]));
      // The last two roundings are of a number no larger than scale * normal + |shift|.
      result.y.push_back(scale * (mean_error * rstd + normal * (rstd_error + 4 * kU)) +
                         2 * kU * (scale * normal + 4));
    }
  }
  return result;
}

void check_forward(const Array& x, const Shape& shape) {
  const std::size_t rows = shape.rows, channels = shape.channels;
  const Array gain = normal_array(channels, 1, 3);
  Array shift = normal_array(channels, 1, 4);
  for (float& each : shift) {
    each = std::min(3.9f, std::max(-3.9f, each));  // `tolerances` counts on at most 4
  }
  const Tolerances allowed = tolerances(x, gain, rows, channels);
  expect_implementations_agree(
      {.name = "layernorm",
       .arrays = {x, gain, shift, Array(x.size()), Array(rows), Array(rows)},
       .tolerances = {{}, {}, {}, allowed.y, allowed.mean, allowed.rstd},
       .call = [=](const Kernels& k, float* const* p) {
         k.layernorm(p[0], p[1], p[2], p[3], p[4], p[5], rows, channels);
       }});
}

TEST(LayernormTest, Forward) {
  for (const Shape& shape : shapes()) {
    check_forward(normal_array(shape.rows * shape.channels, 2, 1), shape);
  }
}

TEST(LayernormTest, ForwardFarFromZeroAndFlat) {
  for (const Shape& shape : {Shape{3, 768}, Shape{2, 67}, Shape{1, 1}}) {
    Array far = normal_array(shape.rows * shape.channels, 1, 1);
    for (float& each : far) {
      each += 1000;
    }
    check_forward(far, shape);
    check_forward(Array(far.size(), -2.5f), shape);
    check_forward(Array(far.size(), 0.0f), shape);
  }
}

/// Without a bias, the kernel is given nullptr.
void check_residual(const Shape& shape, bool biased) {
  const std::size_t rows = shape.rows, channels = shape.channels;
  const std::size_t n = rows * channels;
  const Array x = normal_array(n, 2, 1);
  const Array branch = normal_array(n, 1, 2);
  const Array bias = biased ? normal_array(channels, 1, 5) : Array();
  const Array gain = normal_array(channels, 1, 3);
  const Array shift(channels, 0.5f);
  Array sum(n);
  for (std::size_t i = 0; i < n; ++i) {
    sum[i] = x[i] + (biased ? branch[i] + bias[i % channels] : branch[i]);
  }
  const Tolerances allowed = tolerances(sum, gain, rows, channels);
  expect_implementations_agree(
      {.name = "residual_layernorm",
       .arrays = {x, branch, bias, gain, shift, Array(n), Array(n), Array(rows), Array(rows)},
       .tolerances = {{}, {}, {}, {}, {}, {}, allowed.y, allowed.mean, allowed.rstd},
       .call = [=](const Kernels& k, float* const* p) {
         k.residual_layernorm(p[0], p[1], biased ? p[2] : nullptr, p[3], p[4], p[5], p[6], p[7],
                              p[8], rows, channels);
       }});
  expect_implementations_agree(
      {.name = "residual_layernorm in place",
       .arrays = {x, branch, bias, gain, shift, Array(n), Array(rows), Array(rows)},
       .tolerances = {{}, {}, {}, {}, {}, allowed.y, allowed.mean, allowed.rstd},
       .call = [=](const Kernels& k, float* const* p) {
         k.residual_layernorm(p[0], p[1], biased ? p[2] : nullptr, p[3], p[4], p[0], p[5], p[6],
                              p[7], rows, channels);
       }});
}

TEST(LayernormTest, Residual) {
  for (const Shape& shape : shapes()) {
    check_residual(shape, true);
    check_residual(shape, false);
  }
}

TEST(LayernormTest, Backward) {
  for (const Shape& shape : shapes()) {
    const std::size_t rows = shape.rows, channels = shape.channels;
    const std::size_t n = rows * channels;
    const double count = static_cast<double>(channels);
    const Array dy = normal_array(n, 1, 1);
    const Array x = normal_array(n, 2, 2);
    const Array gain = normal_array(channels, 1, 3);
    const Array dx = normal_array(n, 1, 4);
    const Array dgain = normal_array(channels, 1, 5);
    const Array dshift = normal_array(channels, 1, 6);
    Array y(n);
    Array mean(rows);
    Array rstd(rows);
    reference_kernels().layernorm(x.data(), gain.data(), dshift.data(), y.data(), mean.data(),
                                  rstd.data(), rows, channels);

    // Sums along a row: eight running sums. Sums down the rows: one addition each, of terms with
    // three roundings.
    const double depth = count / 8 + 1 + 3;
    const double steps = static_cast<double>(rows) + 4;
    std::vector<double> dx_allowed(n);
    std::vector<double> dgain_allowed(channels);
    for (std::size_t c = 0; c < channels; ++c) {
      dgain_allowed[c] = steps * kU * std::abs(static_cast<double>(dgain[c]));
    }
    for (std::size_t row = 0; row < rows; ++row) {
      double sum = 0;
      double dot = 0;
      const auto normal = [&](std::size_t c) {
        return std::abs(static_cast<double>(x[row * channels + c]) -
                        static_cast<double>(mean[row])) *
               static_cast<double>(rstd[row]);
      };
      const auto dnormal = [&](std::size_t c) {
        return std::abs(static_cast<double>(dy[row * channels + c]) * static_cast<double>(gain[c]));
      };
      for (std::size_t c = 0; c < channels; ++c) {
        sum += dnormal(c) / count;
        dot += dnormal(c) * normal(c) / count;
        dgain_allowed[c] +=
            steps * kU * std::abs(static_cast<double>(dy[row * channels + c])) * normal(c);
      }
      for (std::size_t c = 0; c < channels; ++c) {
        // Each of the three parts with the error of its mean, and 8 roundings of its own.
        const double parts = 8 * dnormal(c) + (depth + 8) * (sum + normal(c) * dot);
        dx_allowed[row * channels + c] =
            kU * (static_cast<double>(rstd[row]) * parts +
                  2 * std::abs(static_cast<double>(dx[row * channels + c])));
      }
    }
    expect_implementations_agree(
        {.name = "layernorm_backward",
         .arrays = {dy, x, mean, rstd, gain, dx, dgain, dshift},
         .tolerances = {{}, {}, {}, {}, {}, dx_allowed, dgain_allowed, {}},
         .call = [=, r = rows, c = channels](const Kernels& k, float* const* p) {
           k.layernorm_backward(p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7], r, c);
         }});
  }
}

// The engine cuts a micro-batch into token blocks: how many rows come in one call must not change a
// bit.
TEST(LayernormTest, BackwardIsTheSameInOneCallAndRowByRow) {
  constexpr std::size_t kRows = 11;
  constexpr std::size_t kChannels = 83;
  const Array dy = normal_array(kRows * kChannels, 1, 1);
  const Array x = normal_array(kRows * kChannels, 1, 2);
  const Array mean = normal_array(kRows, 0.1, 3);
  const Array rstd(kRows, 0.9f);
  const Array gain = normal_array(kChannels, 1, 4);
  for (const Kernels* kernels : runnable_kernels()) {
    Array dx(kRows * kChannels);
    Array dgain(kChannels);
    Array dshift(kChannels);
    Array dx_rows = dx;
    Array dgain_rows = dgain;
    Array dshift_rows = dshift;
    kernels->layernorm_backward(dy.data(), x.data(), mean.data(), rstd.data(), gain.data(),
                                dx.data(), dgain.data(), dshift.data(), kRows, kChannels);
    for (std::size_t row = 0; row < kRows; ++row) {
      const std::size_t start = row * kChannels;
      kernels->layernorm_backward(dy.data() + start, x.data() + start, mean.data() + row,
                                  rstd.data() + row, gain.data(), dx_rows.data() + start,
                                  dgain_rows.data(), dshift_rows.data(), 1, kChannels);
    }
    EXPECT_EQ(dx, dx_rows) << kernels->name;
    EXPECT_EQ(dgain, dgain_rows) << kernels->name;
    EXPECT_EQ(dshift, dshift_rows) << kernels->name;
  }
}

}  // namespace
}  // namespace cllm::kernels
