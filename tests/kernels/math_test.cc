#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "cllm/base/processors.h"
#include "kernels/implementations.h"

/// exp, log and tanh over every float: all 2^32 bit patterns are given to the kernel. Finite
/// results are compared with the C library's in double, whose error is below 2^-20 units in float's
/// last place; the rest must be exactly what IEEE 754 says.
namespace cllm::kernels {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

using Kernel = void (*)(const float*, float*, std::size_t);

// Most floats are tiny, huge or negative. For those there are shortcuts that are exact, or nearer
// than the library, and much faster.

double exp_reference(double x) {
  if (std::abs(x) < 0x1p-22) {
    return 1 + x;  // the next term is x^2 / 2 < 2^-45
  }
  if (std::abs(x) > 110) {
    return x > 0 ? kInfinity : 0;  // beyond float's range by a factor of 500
  }
  return std::exp(x);
}

double log_reference(double x) {
  return x < 0 ? std::numeric_limits<double>::quiet_NaN() : std::log(x);
}

double tanh_reference(double x) {
  if (std::abs(x) < 0x1p-12) {
    return x - x * x * x / 3;  // the next term is 2/15 x^5 < 2^-50 x
  }
  return std::abs(x) > 20 ? std::copysign(1.0, x) : std::tanh(x);
}

/// The distance of floats around `exact` (subnormals' below the normal ones).
double ulp(double exact) {
  constexpr std::uint64_t kSmallest = std::uint64_t{1023 - 126} << 52;
  const std::uint64_t exponent = std::bit_cast<std::uint64_t>(exact) & (std::uint64_t{0x7ff} << 52);
  return std::bit_cast<double>(std::max(exponent, kSmallest) - (std::uint64_t{23} << 52));
}

struct Worst {
  double ulps = 0;
  float at = 0;
};

/// The error of one result. A correctly rounded one counts as 0, for speed; infinities and NaNs are
/// right or infinitely wrong.
double error_in_ulps(float result, double exact) {
  const float rounded = static_cast<float>(exact);
  if (result == rounded || (std::isnan(result) && std::isnan(rounded))) {
    return 0;
  }
  if (!std::isfinite(result) || !std::isfinite(rounded)) {
    return kInfinity;
  }
  return std::abs(static_cast<double>(result) - exact) / ulp(exact);
}

/// The largest error over every `stride`-th bit pattern.
template <double (*reference)(double)>
Worst sweep(Kernel kernel, std::uint64_t stride) {
  constexpr std::uint64_t kPatterns = std::uint64_t{1} << 32;
  constexpr std::size_t kBlock = 4096;
  const auto workers = available_processors().size();
  std::vector<Worst> worst(workers);
  std::vector<std::thread> threads;
  for (std::uint64_t worker = 0; worker < workers; ++worker) {
    threads.emplace_back([=, &worst] {
      std::array<float, kBlock> x;
      std::array<float, kBlock> y;
      Worst mine;
      const std::uint64_t step = stride * kBlock;
      for (std::uint64_t start = worker * step; start < kPatterns; start += workers * step) {
        std::size_t count = 0;
        for (std::uint64_t bits = start; count < kBlock && bits < kPatterns; bits += stride) {
          x[count++] = std::bit_cast<float>(static_cast<std::uint32_t>(bits));
        }
        kernel(x.data(), y.data(), count);
        for (std::size_t i = 0; i < count; ++i) {
          const double error = error_in_ulps(y[i], reference(static_cast<double>(x[i])));
          if (error > mine.ulps) {
            mine = {error, x[i]};
          }
        }
      }
      worst[worker] = mine;
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  return *std::max_element(worst.begin(), worst.end(),
                           [](const Worst& a, const Worst& b) { return a.ulps < b.ulps; });
}

// Every float takes half a minute on two processors, and a build for debugging many times that.
#if defined(__OPTIMIZE__) && !defined(CLLM_SANITIZED)
constexpr std::uint64_t kDefaultStride = 17;
#else
constexpr std::uint64_t kDefaultStride = 257;
#endif

/// CLLM_MATH_STRIDE=n looks at every n-th float; 1 at all.
std::uint64_t stride() {
  const char* text = std::getenv("CLLM_MATH_STRIDE");
  return text == nullptr ? kDefaultStride : std::max(1ull, std::stoull(text));
}

template <double (*reference)(double)>
void expect_bound(const char* name, Kernel kernel, double bound) {
  const Worst worst = sweep<reference>(kernel, stride());
  ::testing::Test::RecordProperty(std::string(name) + "_ulps", std::to_string(worst.ulps));
  std::printf("%s: at most %.4f ulp, at %a\n", name, worst.ulps, static_cast<double>(worst.at));
  EXPECT_LE(worst.ulps, bound) << name << " at " << worst.at;
  if (stride() == 1) {
    EXPECT_GT(worst.ulps, 0.97 * bound) << "the bound of " << name << " could be tighter";
  }
}

const Kernels& fastest() { return *runnable_kernels().front(); }

TEST(MathTest, ExpOfEveryFloat) { expect_bound<exp_reference>("exp", fastest().exp, kExpUlps); }

TEST(MathTest, LogOfEveryFloat) { expect_bound<log_reference>("log", fastest().log, kLogUlps); }

TEST(MathTest, TanhOfEveryFloat) {
  expect_bound<tanh_reference>("tanh", fastest().tanh, kTanhUlps);
}

/// The bound of one is that of all.
TEST(MathTest, ImplementationsGiveTheSameBitsOnASample) {
  constexpr std::uint64_t kStride = 8191;
  Array x;
  for (std::uint64_t bits = 0; bits < std::uint64_t{1} << 32; bits += kStride) {
    const float value = std::bit_cast<float>(static_cast<std::uint32_t>(bits));
    if (!std::isnan(value)) x.push_back(value);
  }
  Array expected(x.size()), y(x.size());
  for (const Kernel Kernels::*const function : {&Kernels::exp, &Kernels::log, &Kernels::tanh}) {
    (fastest().*function)(x.data(), expected.data(), x.size());
    for (const Kernels* kernels : runnable_kernels()) {
      if (!kernels->has_fixed_order) continue;
      (kernels->*function)(x.data(), y.data(), x.size());
      for (std::size_t i = 0; i < x.size(); ++i) {
        if (std::isnan(expected[i]) && std::isnan(y[i])) continue;
        ASSERT_EQ(std::bit_cast<std::uint32_t>(expected[i]), std::bit_cast<std::uint32_t>(y[i]))
            << kernels->name << " at " << x[i];
      }
    }
  }
}

TEST(ReferenceMathTest, IsRoundedOnceOnASample) {
  // Computed in double and rounded: half a unit, and the library's error in double.
  constexpr double kBound = 0.5 + 1e-6;
  constexpr std::uint64_t kStride = 4093;
  const Kernels& kernels = reference_kernels();
  EXPECT_LE(sweep<exp_reference>(kernels.exp, kStride).ulps, kBound);
  EXPECT_LE(sweep<log_reference>(kernels.log, kStride).ulps, kBound);
  EXPECT_LE(sweep<tanh_reference>(kernels.tanh, kStride).ulps, kBound);
}

TEST(ReferenceMathTest, SpecialValuesAreExact) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  constexpr float kTiny = std::numeric_limits<float>::denorm_min();
  for (const Kernels* kernels : runnable_kernels()) {
    SCOPED_TRACE(kernels->name);
    const auto at = [](Kernel kernel, float x) {
      float y = 7;
      kernel(&x, &y, 1);
      return y;
    };
    EXPECT_EQ(at(kernels->exp, 0), 1);
    EXPECT_EQ(at(kernels->exp, kInf), kInf);
    EXPECT_EQ(at(kernels->exp, -kInf), 0);
    EXPECT_EQ(at(kernels->exp, 88.73f), kInf);
    EXPECT_EQ(at(kernels->exp, -103.9f), kTiny);
    EXPECT_TRUE(std::isnan(at(kernels->exp, kNan)));
    EXPECT_EQ(at(kernels->log, 0), -kInf);
    EXPECT_EQ(at(kernels->log, -0.0f), -kInf);
    EXPECT_EQ(at(kernels->log, 1), 0);
    EXPECT_EQ(at(kernels->log, kInf), kInf);
    EXPECT_FLOAT_EQ(at(kernels->log, kTiny), -103.27893f);
    EXPECT_TRUE(std::isnan(at(kernels->log, -kTiny)));
    EXPECT_TRUE(std::isnan(at(kernels->log, -kInf)));
    EXPECT_TRUE(std::isnan(at(kernels->log, kNan)));
    EXPECT_EQ(at(kernels->tanh, kTiny), kTiny);
    EXPECT_EQ(at(kernels->tanh, kInf), 1);
    EXPECT_EQ(at(kernels->tanh, -kInf), -1);
    EXPECT_TRUE(std::signbit(at(kernels->tanh, -0.0f)));
    EXPECT_TRUE(std::isnan(at(kernels->tanh, kNan)));
  }
}

void wrong_near_one(const float* x, float* y, std::size_t n) {
  reference_kernels().exp(x, y, n);
  for (std::size_t i = 0; i < n; ++i) {
    if (x[i] > 0.9f && x[i] < 1.1f) {
      y[i] = std::nextafter(std::nextafter(y[i], 9.0f), 9.0f);
    }
  }
}

void infinite_too_early(const float* x, float* y, std::size_t n) {
  reference_kernels().exp(x, y, n);
  for (std::size_t i = 0; i < n; ++i) {
    if (x[i] > 88) {
      y[i] = std::numeric_limits<float>::infinity();
    }
  }
}

TEST(SweepTest, FindsErrors) {
  constexpr std::uint64_t kStride = 4093;
  EXPECT_GT(sweep<exp_reference>(wrong_near_one, kStride).ulps, 1.4);
  EXPECT_EQ(sweep<exp_reference>(infinite_too_early, kStride).ulps, kInfinity);
}

}  // namespace
}  // namespace cllm::kernels
