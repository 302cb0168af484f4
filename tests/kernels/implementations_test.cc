#include "kernels/implementations.h"

#include <bit>
#include <cmath>
#include <limits>

/// Functions, sums and GELU: AVX2 against the portable implementation, and the comparison itself.
namespace cllm::kernels {
namespace {

constexpr double kU = kRoundoff;

/// What multiplies x in GELU: `open` = 1 / (1 + e^exponent), and `shut` = 1 - `open`.
struct Gate {
  double exponent;
  double open;
  double shut;
};

Gate gate_of(double x) {
  const double exponent = -2 * std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x);
  return {exponent, 1 / (1 + std::exp(exponent)), 1 / (1 + std::exp(-exponent))};
}

/// The relative error of the AVX2 gate. The exponent takes three roundings (its square, sum and
/// product), so its error is 4 u |exponent|, of which the gate sees the share `shut`; exp, sum and
/// quotient add fewer than 8 u.
double gate_error(const Gate& gate) { return kU * (4 * std::abs(gate.exponent) * gate.shut + 8); }

/// Where |x| > 10 is taken for 10, the gate is below 2^-125.
double held_error(double x) { return std::abs(x) > 10 ? std::abs(x) * 0x1p-125 : 0x1p-149; }

std::vector<double> gelu_tolerance(const Array& x) {
  std::vector<double> result;
  for (const float each : x) {
    const Gate gate = gate_of(each);
    result.push_back(std::abs(each) * gate.open * gate_error(gate) + held_error(each));
  }
  return result;
}

std::vector<double> slope_tolerance(const Array& x, const Array& dy) {
  std::vector<double> result;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double each = x[i];
    const Gate gate = gate_of(each);
    const double twice_slope = 2 * std::sqrt(2 / M_PI) * (1 + 3 * 0.044715 * each * each);
    const double rise = std::abs(each) * twice_slope * gate.open * gate.shut;
    // `rise` holds e and the gate three times over, so their errors add.
    const double error = gate.open * gate_error(gate) +
                         rise * kU * (12 * std::abs(gate.exponent) + 32) + 100 * held_error(each);
    result.push_back(std::abs(static_cast<double>(dy[i])) * error);
  }
  return result;
}

Operation function_operation(const char* name, std::size_t n, bool in_place, double ulps,
                             void (*Kernels::*entry)(const float*, float*, std::size_t)) {
  Array x = normal_array(n, 8, 1);
  if (entry == &Kernels::log) {
    for (float& each : x) {
      each = std::abs(each);
    }
  }
  Array y(n);
  (reference_kernels().*entry)(x.data(), y.data(), n);
  std::vector<double> tolerance;
  for (const float each : y) {
    // A unit in the last place is at most 2 u of the number, and portable rounds once.
    tolerance.push_back((ulps + 0.5) * 2 * kU * std::abs(static_cast<double>(each)) + 0x1p-149);
  }
  if (in_place) {
    return {.name = std::string(name) + " in place",
            .arrays = {x},
            .tolerances = {tolerance},
            .call = [=](const Kernels& k, float* const* p) { (k.*entry)(p[0], p[0], n); }};
  }
  return {.name = name,
          .arrays = {x, Array(n, 7.0f)},
          .tolerances = {{}, tolerance},
          .call = [=](const Kernels& k, float* const* p) { (k.*entry)(p[0], p[1], n); }};
}

TEST(ImplementationsTest, Functions) {
  for (const std::size_t n : lengths()) {
    for (const bool in_place : {false, true}) {
      expect_implementations_agree(function_operation("exp", n, in_place, kExpUlps, &Kernels::exp));
      expect_implementations_agree(function_operation("log", n, in_place, kLogUlps, &Kernels::log));
      expect_implementations_agree(
          function_operation("tanh", n, in_place, kTanhUlps, &Kernels::tanh));
    }
  }
}

// The same additions in the same order: the same bits.
TEST(ImplementationsTest, Add) {
  for (const std::size_t n : lengths()) {
    expect_implementations_agree(
        {.name = "add",
         .arrays = {normal_array(n, 1, 1), normal_array(n, 1, 2)},
         .tolerances = {{}, {}},
         .call = [=](const Kernels& k, float* const* p) { k.add(p[0], p[1], n); }});
  }
}

TEST(ImplementationsTest, AddBiasAndColumnSums) {
  for (const std::size_t columns : lengths()) {
    for (const std::size_t rows : {0U, 1U, 2U, 7U, 8U, 9U, 17U, 24U}) {
      const Array x = normal_array(rows * columns, 1, 1);
      const Array vector = normal_array(columns, 1, 2);
      expect_implementations_agree({.name = "add_bias",
                                    .arrays = {vector, x},
                                    .tolerances = {{}, {}},
                                    .call = [=](const Kernels& k, float* const* p) {
                                      k.add_bias(p[0], p[1], rows, columns);
                                    }});
      expect_implementations_agree({.name = "add_column_sums",
                                    .arrays = {x, vector},
                                    .tolerances = {{}, {}},
                                    .call = [=](const Kernels& k, float* const* p) {
                                      k.add_column_sums(p[0], p[1], rows, columns);
                                    }});
    }
  }
}

TEST(ImplementationsTest, SparseRow) {
  constexpr std::size_t kRows = 40;
  for (const std::size_t n : lengths()) {
    if (n > 300) continue;  // products of sparse matrices go in panels
    const std::size_t ld = n + 5;
    const Array x = with_padding(normal_array(kRows * n, 1, 1), kRows, n, ld);
    for (const std::size_t count : {0U, 1U, 2U, 9U, 64U}) {
      const Array values = normal_array(count, 1, 2);
      Array columns(count);
      for (std::size_t e = 0; e < count; ++e) {
        columns[e] = std::bit_cast<float>(static_cast<std::uint32_t>(e * 7 % kRows));
      }
      std::vector<double> tolerance(n);
      for (std::size_t i = 0; i < n; ++i) {
        double magnitude = 0;
        for (std::size_t e = 0; e < count; ++e) {
          magnitude += std::abs(static_cast<double>(values[e]) *
                                static_cast<double>(x[e * 7 % kRows * ld + i]));
        }
        // `count` products and sums, each rounded once (Higham, section 3.1), and portable's one.
        tolerance[i] = kRoundoff * (static_cast<double>(count) + 2) * magnitude;
      }
      expect_implementations_agree({.name = "sparse_row",
                                    .arrays = {columns, values, x, Array(n, 7.0f)},
                                    .tolerances = {{}, {}, {}, tolerance},
                                    .call = [=](const Kernels& k, float* const* p) {
                                      std::vector<std::uint32_t> places(count);
                                      for (std::size_t e = 0; e < count; ++e) {
                                        places[e] = std::bit_cast<std::uint32_t>(p[0][e]);
                                      }
                                      k.sparse_row(places.data(), p[1], count, p[2], ld, p[3], n);
                                    }});
    }
  }
}

TEST(ImplementationsTest, SumOfSquares) {
  for (const std::size_t n : lengths()) {
    const Array x = normal_array(n, 1e15, 1);  // squares beyond float's range
    double in_double = 0;
    double result[3] = {};
    const Operation operation = {
        .name = "sum_of_squares",
        .arrays = {x},
        .tolerances = {{}},
        .call = [&](const Kernels& k, float* const* p) { in_double = k.sum_of_squares(p[0], n); }};
    std::vector<Array> unused;
    ASSERT_TRUE(run(reference_kernels(), operation, 0, &unused));
    result[0] = in_double;
    for (const std::size_t slack : {0U, 3U}) {
      for (const Kernels* kernels : runnable_kernels()) {
        ASSERT_TRUE(run(*kernels, operation, slack, &unused));
        // Squares are exact in double; n additions of positive numbers, in any two orders.
        EXPECT_NEAR(in_double, result[0], 2 * static_cast<double>(n) * 0x1p-53 * result[0])
            << kernels->name << " n " << n;
        result[slack == 0 ? 1 : 2] = in_double;
      }
    }
    EXPECT_EQ(result[1], result[2]) << "alignment changes the sum of " << n;
  }
}

TEST(ImplementationsTest, BiasGelu) {
  for (const std::size_t columns : lengths()) {
    for (const std::size_t rows : {1U, 3U}) {
      const Array bias = normal_array(columns, 1, 2);
      const Array x = normal_array(rows * columns, 3, 1);
      Array sum = x;
      reference_kernels().add_bias(bias.data(), sum.data(), rows, columns);
      expect_implementations_agree({.name = "bias_gelu",
                                    .arrays = {bias, x, Array(rows * columns)},
                                    .tolerances = {{}, {}, gelu_tolerance(sum)},
                                    .call = [=](const Kernels& k, float* const* p) {
                                      k.bias_gelu(p[0], p[1], p[2], rows, columns);
                                    }});
    }
  }
}

TEST(ImplementationsTest, Gelu) {
  for (const std::size_t n : lengths()) {
    const Array x = normal_array(n, 3, 1);
    expect_implementations_agree(
        {.name = "gelu",
         .arrays = {x, Array(n)},
         .tolerances = {{}, gelu_tolerance(x)},
         .call = [=](const Kernels& k, float* const* p) { k.gelu(p[0], p[1], n); }});
    expect_implementations_agree(
        {.name = "gelu in place",
         .arrays = {x},
         .tolerances = {gelu_tolerance(x)},
         .call = [=](const Kernels& k, float* const* p) { k.gelu(p[0], p[0], n); }});
    for (const Kernels* kernels : runnable_kernels()) {
      Array sum = x, y(n), y_biased(n);
      kernels->gelu(x.data(), y.data(), n);
      kernels->bias_gelu(Array(n, 0.0f).data(), sum.data(), y_biased.data(), 1, n);
      EXPECT_EQ(y, y_biased) << kernels->name << " n " << n;
    }
  }
}

TEST(ImplementationsTest, GeluBackward) {
  for (const std::size_t n : lengths()) {
    const Array x = normal_array(n, 3, 1);
    const Array dy = normal_array(n, 1, 2);
    expect_implementations_agree(
        {.name = "gelu_backward",
         .arrays = {x, dy, Array(n)},
         .tolerances = {{}, {}, slope_tolerance(x, dy)},
         .call = [=](const Kernels& k, float* const* p) { k.gelu_backward(p[0], p[1], p[2], n); }});
    expect_implementations_agree(
        {.name = "gelu_backward in place",
         .arrays = {x, dy},
         .tolerances = {{}, slope_tolerance(x, dy)},
         .call = [=](const Kernels& k, float* const* p) { k.gelu_backward(p[0], p[1], p[1], n); }});
  }
}

TEST(ImplementationsTest, GeluOfExtremes) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const Array x = {0.0f,    -0.0f, 1e-30f, -1e-30f, 5,     -5,   9.99f, -9.99f, 10.01f,
                   -10.01f, 12,    -12,    1e4f,    -1e4f, 1e9f, -1e9f, nan};
  const std::size_t n = x.size();
  const Array dy(n, 1.0f);
  expect_implementations_agree(
      {.name = "bias_gelu of extremes",
       .arrays = {Array(n, 0.0f), x, Array(n)},
       .tolerances = {{}, std::vector<double>(n, 0.0), gelu_tolerance(x)},
       .call = [=](const Kernels& k, float* const* p) { k.bias_gelu(p[0], p[1], p[2], 1, n); }});
  expect_implementations_agree(
      {.name = "gelu of extremes",
       .arrays = {x, Array(n)},
       .tolerances = {{}, gelu_tolerance(x)},
       .call = [=](const Kernels& k, float* const* p) { k.gelu(p[0], p[1], n); }});
  expect_implementations_agree(
      {.name = "gelu_backward of extremes",
       .arrays = {x, dy, Array(n)},
       .tolerances = {{}, {}, slope_tolerance(x, dy)},
       .call = [=](const Kernels& k, float* const* p) { k.gelu_backward(p[0], p[1], p[2], n); }});
}

// --- The comparison must be able to refuse -------------------------------------------------------

/// A copy of the portable table with one entry replaced.
Kernels with_add(void (*add)(const float*, float*, std::size_t)) {
  Kernels kernels = reference_kernels();
  kernels.name = "faulty";
  kernels.add = add;
  return kernels;
}

Operation addition(std::size_t n) {
  return {.name = "add",
          .arrays = {normal_array(n, 1, 1), normal_array(n, 1, 2)},
          .tolerances = {{}, std::vector<double>(n, 1e-7)},
          .call = [=](const Kernels& k, float* const* p) { k.add(p[0], p[1], n); }};
}

TEST(ComparisonTest, AcceptsTheSameKernel) {
  EXPECT_TRUE(agree(reference_kernels(), with_add(reference_kernels().add), addition(13)));
}

TEST(ComparisonTest, RefusesAnElementBeyondTolerance) {
  EXPECT_FALSE(agree(reference_kernels(), with_add([](const float* x, float* y, std::size_t n) {
                       reference_kernels().add(x, y, n);
                       y[n - 1] += 1e-5f;
                     }),
                     addition(13)));
}

TEST(ComparisonTest, RefusesNaN) {
  EXPECT_FALSE(agree(reference_kernels(),
                     with_add([](const float*, float* y, std::size_t) { y[3] = std::nanf(""); }),
                     addition(13)));
}

TEST(ComparisonTest, RefusesAnInputThatChanged) {
  EXPECT_FALSE(agree(reference_kernels(), with_add([](const float* x, float* y, std::size_t n) {
                       reference_kernels().add(x, y, n);
                       const_cast<float*>(x)[0] = std::nextafter(x[0], 9.0f);
                     }),
                     addition(13)));
}

TEST(ComparisonTest, RefusesWritingBeforeTheArray) {
  EXPECT_FALSE(agree(reference_kernels(), with_add([](const float* x, float* y, std::size_t n) {
                       reference_kernels().add(x, y, n);
                       y[-1] = 0;
                     }),
                     addition(13)));
}

TEST(ComparisonTest, RefusesReadingGuards) {
  EXPECT_FALSE(agree(reference_kernels(), with_add([](const float* x, float* y, std::size_t n) {
                       reference_kernels().add(x, y, n);
                       y[0] += 0 * x[-1];
                     }),
                     addition(13)));
}

TEST(ComparisonTest, RefusesResultsThatDependOnAlignment) {
  EXPECT_FALSE(agree(reference_kernels(), with_add([](const float* x, float* y, std::size_t n) {
                       reference_kernels().add(x, y, n);
                       if (reinterpret_cast<std::uintptr_t>(y) % 32 == 0) {
                         y[0] = std::nextafter(y[0], 9.0f);
                       }
                     }),
                     addition(16)));
}

TEST(ComparisonDeathTest, StopsAtAccessPastTheEnd) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  std::vector<Array> results;
  EXPECT_DEATH(run(with_add([](const float*, float* y, std::size_t n) {
                     *const_cast<volatile float*>(y + n) = 0;
                   }),
                   addition(13), 0, &results),
               "");
}

}  // namespace
}  // namespace cllm::kernels
