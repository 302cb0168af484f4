#include <cmath>
#include <limits>

#include "kernels/implementations.h"

/// SwiGLU and the squared ReLU: AVX2 against the portable implementation.
namespace cllm::kernels {
namespace {

constexpr double kU = kRoundoff;

double logistic(double x) { return 1 / (1 + std::exp(-x)); }

/// Where |x| > 87 is taken for 87, the gate is below 2^-125.
double held_error(double x) { return std::abs(x) > 87 ? std::abs(x) * 0x1p-125 : 0x1p-149; }

/// exp is off by 1.8 u, of which the logistic function sees at most all; its sum and quotient, the
/// two products and portable's rounding add 5 u.
constexpr double kGateError = 7 * kU;

std::vector<double> swiglu_tolerance(const Array& x, std::size_t rows, std::size_t width) {
  std::vector<double> result;
  for (std::size_t row = 0; row < rows; ++row) {
    for (std::size_t i = 0; i < width; ++i) {
      const double gate = x[row * 2 * width + i];
      const double value = std::abs(static_cast<double>(x[row * 2 * width + width + i]));
      result.push_back(std::abs(gate) * logistic(gate) * value * kGateError +
                       held_error(gate) * (value + 1));
    }
  }
  return result;
}

/// The slope's two parts may cancel: s, and x s (1 - s), which holds s twice, exp once, and three
/// roundings of its own.
std::vector<double> swiglu_backward_tolerance(const Array& x, const Array& dy, std::size_t rows,
                                              std::size_t width) {
  std::vector<double> result(x.size());
  for (std::size_t row = 0; row < rows; ++row) {
    for (std::size_t i = 0; i < width; ++i) {
      const double gate = x[row * 2 * width + i];
      const double value = std::abs(static_cast<double>(x[row * 2 * width + width + i]));
      const double dy_i = std::abs(static_cast<double>(dy[row * width + i]));
      const double open = logistic(gate), shut = logistic(-gate);
      result[row * 2 * width + i] =
          dy_i * value * (open * kGateError + std::abs(gate) * open * shut * 3 * kGateError) +
          100 * held_error(gate) * (dy_i * value + 1);
      result[row * 2 * width + width + i] =
          dy_i * std::abs(gate) * open * kGateError + held_error(gate) * (dy_i + 1);
    }
  }
  return result;
}

void check_swiglu(const Array& x, std::size_t rows, std::size_t width) {
  const Array dy = normal_array(rows * width, 1, 2);
  expect_implementations_agree(
      {.name = "swiglu",
       .arrays = {x, Array(rows * width, 7.0f)},
       .tolerances = {{}, swiglu_tolerance(x, rows, width)},
       .call = [=](const Kernels& k, float* const* p) { k.swiglu(p[0], p[1], rows, width); }});
  const std::vector<double> allowed = swiglu_backward_tolerance(x, dy, rows, width);
  expect_implementations_agree({.name = "swiglu_backward",
                                .arrays = {x, dy, Array(x.size(), 7.0f)},
                                .tolerances = {{}, {}, allowed},
                                .call = [=](const Kernels& k, float* const* p) {
                                  k.swiglu_backward(p[0], p[1], p[2], rows, width);
                                }});
  expect_implementations_agree({.name = "swiglu_backward in place",
                                .arrays = {x, dy},
                                .tolerances = {allowed, {}},
                                .call = [=](const Kernels& k, float* const* p) {
                                  k.swiglu_backward(p[0], p[1], p[0], rows, width);
                                }});
}

TEST(SwigluTest, Implementations) {
  for (const std::size_t width : lengths()) {
    for (const std::size_t rows : {0U, 1U, 3U}) {
      check_swiglu(normal_array(rows * 2 * width, 3, 1), rows, width);
    }
  }
}

TEST(SwigluTest, Extremes) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const Array gates = {0.0f,   -0.0f,   1e-30f, -1e-30f, 5,    -5,    -1.2784645f, 86.9f, -86.9f,
                       87.01f, -87.01f, 104,    -104,    1e4f, -1e4f, 1e9f,        -1e9f, nan};
  for (const float value : {1.0f, -3.5f, 1e-30f, 1e20f, nan}) {
    Array x = gates;
    x.resize(2 * gates.size(), value);
    check_swiglu(x, 1, gates.size());
  }
}

TEST(SwigluTest, IsTheSameInOneCallAndRowByRow) {
  constexpr std::size_t kRows = 5;
  constexpr std::size_t kWidth = 83;
  const Array x = normal_array(kRows * 2 * kWidth, 2, 1);
  for (const Kernels* kernels : runnable_kernels()) {
    Array y(kRows * kWidth), y_rows(kRows * kWidth);
    kernels->swiglu(x.data(), y.data(), kRows, kWidth);
    for (std::size_t row = 0; row < kRows; ++row) {
      kernels->swiglu(x.data() + row * 2 * kWidth, y_rows.data() + row * kWidth, 1, kWidth);
    }
    EXPECT_EQ(y, y_rows) << kernels->name;
  }
}

// A sum of equal numbers and a square are rounded once, in float as in double: the same bits.
TEST(Relu2Test, Implementations) {
  for (const std::size_t n : lengths()) {
    const Array x = normal_array(n, 2, 1);
    const Array dy = normal_array(n, 1, 2);
    expect_implementations_agree(
        {.name = "relu2",
         .arrays = {x, Array(n, 7.0f)},
         .tolerances = {{}, {}},
         .call = [=](const Kernels& k, float* const* p) { k.relu2(p[0], p[1], n); }});
    expect_implementations_agree(
        {.name = "relu2 in place",
         .arrays = {x},
         .tolerances = {{}},
         .call = [=](const Kernels& k, float* const* p) { k.relu2(p[0], p[0], n); }});
    expect_implementations_agree({.name = "relu2_backward",
                                  .arrays = {x, dy, Array(n, 7.0f)},
                                  .tolerances = {{}, {}, {}},
                                  .call = [=](const Kernels& k, float* const* p) {
                                    k.relu2_backward(p[0], p[1], p[2], n);
                                  }});
    expect_implementations_agree({.name = "relu2_backward in place",
                                  .arrays = {x, dy},
                                  .tolerances = {{}, {}},
                                  .call = [=](const Kernels& k, float* const* p) {
                                    k.relu2_backward(p[0], p[1], p[1], n);
                                  }});
  }
}

TEST(Relu2Test, SpecialValues) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  const Array x = {0, -0.0f, 3, -3, 1e30f, -1e30f, kInf, -kInf, 0x1p-140f, std::nanf("")};
  const Array squares = {0, 0, 9, 0, kInf, 0, kInf, 0, 0};
  for (const Kernels* kernels : runnable_kernels()) {
    Array y(x.size()), dx(x.size(), 1.0f);
    kernels->relu2(x.data(), y.data(), x.size());
    kernels->relu2_backward(x.data(), dx.data(), dx.data(), x.size());
    for (std::size_t i = 0; i < squares.size(); ++i) {
      EXPECT_EQ(y[i], squares[i]) << kernels->name << " of " << x[i];
      EXPECT_EQ(dx[i], x[i] > 0 ? 2 * x[i] : 0) << kernels->name << " of " << x[i];
    }
    EXPECT_TRUE(std::isnan(y.back())) << kernels->name;
    EXPECT_TRUE(std::isnan(dx.back())) << kernels->name;
  }
}

}  // namespace
}  // namespace cllm::kernels
