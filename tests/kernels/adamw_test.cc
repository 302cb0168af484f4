#include <bit>
#include <cmath>

#include "kernels/implementations.h"

/// AdamW: AVX2 against the portable implementation, and both against the paper's algorithm in
/// double over several steps.
namespace cllm::kernels {
namespace {

constexpr double kU = kRoundoff;

AdamWStep step_number(int step) {
  AdamWStep result{};
  result.learning_rate = 3e-3f;
  result.beta1 = 0.9f;
  result.beta2 = 0.95f;
  result.epsilon = 1e-8f;
  result.weight_decay = 0.1f;
  result.bias_correction1 = static_cast<float>(1 - std::pow(0.9, step));
  result.bias_correction2 = static_cast<float>(1 - std::pow(0.95, step));
  result.gradient_scale = 0.75f;
  return result;
}

struct State {
  double parameter;
  double m;
  double v;
};

/// Algorithm 2 of the paper, lines 5 to 12.
State reference_step(const State& before, double gradient, const AdamWStep& step) {
  const double g = gradient * static_cast<double>(step.gradient_scale);
  const double beta1 = static_cast<double>(step.beta1);
  const double beta2 = static_cast<double>(step.beta2);
  State after{};
  after.m = beta1 * before.m + (1 - beta1) * g;
  after.v = beta2 * before.v + (1 - beta2) * g * g;
  const double m_hat = after.m / static_cast<double>(step.bias_correction1);
  const double v_hat = after.v / static_cast<double>(step.bias_correction2);
  after.parameter =
      before.parameter - static_cast<double>(step.learning_rate) *
                             (m_hat / (std::sqrt(v_hat) + static_cast<double>(step.epsilon)) +
                              static_cast<double>(step.weight_decay) * before.parameter);
  return after;
}

/// How far one step in float may be from the reference that starts from the same state: m has
/// roundings of both its parts, which may cancel; v's parts are positive; the direction inherits
/// m's error and has 8 relative ones; the parameter is rounded once.
State step_error(const State& before, const State& after, double gradient, const AdamWStep& step) {
  const double g = std::abs(gradient * static_cast<double>(step.gradient_scale));
  const double root = std::sqrt(after.v / static_cast<double>(step.bias_correction2)) +
                      static_cast<double>(step.epsilon);
  const double correction1 = static_cast<double>(step.bias_correction1);
  State error{};
  error.m = 4 * kU * (std::abs(before.m) + g);
  error.v = 6 * kU * after.v + 0x1p-148;
  error.parameter = static_cast<double>(step.learning_rate) *
                        ((error.m + 12 * kU * std::abs(after.m)) / correction1 / root +
                         4 * kU * std::abs(before.parameter)) +
                    2 * kU * std::abs(before.parameter);
  return error;
}

/// The arguments of one step.
struct Example {
  explicit Example(std::size_t n)
      : parameter(normal_array(n, 1, 1)),
        m(normal_array(n, 0.1, 2)),
        v(normal_array(n, 0.1, 3)),
        gradient(normal_array(n, 1, 4)) {
    for (float& each : v) {
      each *= each;
    }
  }

  /// Of parameter, m and v; the gradient must stay.
  std::vector<std::vector<double>> tolerances() const {
    std::vector<std::vector<double>> allowed(4);
    for (std::size_t i = 0; i < parameter.size(); ++i) {
      const State before = {parameter[i], m[i], v[i]};
      const State error =
          step_error(before, reference_step(before, gradient[i], step), gradient[i], step);
      allowed[0].push_back(error.parameter);
      allowed[1].push_back(error.m);
      allowed[2].push_back(error.v);
    }
    return allowed;
  }

  Array parameter;
  Array m;
  Array v;
  Array gradient;
  AdamWStep step = step_number(7);
};

TEST(AdamWTest, Implementations) {
  for (const std::size_t n : lengths()) {
    const Example example(n);
    expect_implementations_agree(
        {.name = "adamw",
         .arrays = {example.parameter, example.m, example.v, example.gradient},
         .tolerances = example.tolerances(),
         .call = [&](const Kernels& k, float* const* p) {
           k.adamw(p[0], p[1], p[2], p[3], n, example.step);
         }});
  }
}

// To the implementations' tolerances of adamw, whose bits are the next test's.
TEST(AdamWTest, IntegerImplementations) {
  for (const std::size_t n : lengths()) {
    Example example(n);
    example.step.gradient_scale = 0x1.8p-24f;
    Array sums(n);
    for (std::size_t i = 0; i < n; ++i) {
      const auto sum = static_cast<std::int32_t>(0x1p26f * example.gradient[i]);
      example.gradient[i] = static_cast<float>(sum);
      sums[i] = std::bit_cast<float>(sum);
    }
    expect_implementations_agree({.name = "adamw_integers",
                                  .arrays = {example.parameter, example.m, example.v, sums},
                                  .tolerances = example.tolerances(),
                                  .call = [&](const Kernels& k, float* const* p) {
                                    k.adamw_integers(p[0], p[1], p[2],
                                                     reinterpret_cast<const std::int32_t*>(p[3]), n,
                                                     example.step);
                                  }});
  }
}

TEST(AdamWTest, IntegersGiveTheBitsOfTheirFloats) {
  // Beyond 2^24 an integer is rounded: ties to even, and the largest to 2^31.
  constexpr std::int32_t kSums[] = {0,          1,         -1,         12345,      16777217,
                                    16777219,   -16777217, 2147483647, 2147483584, -2147483648,
                                    2147483583, 100000001, -7};
  for (const Kernels* kernels : runnable_kernels()) {
    for (const std::size_t n : lengths()) {
      Example floats(n);
      floats.step.gradient_scale = 0x1.8p-24f;
      std::vector<std::int32_t> sums(n);
      for (std::size_t i = 0; i < n; ++i) {
        sums[i] = kSums[i % std::size(kSums)];
        floats.gradient[i] = static_cast<float>(sums[i]);
      }
      Example integers = floats;
      kernels->adamw(floats.parameter.data(), floats.m.data(), floats.v.data(),
                     floats.gradient.data(), n, floats.step);
      kernels->adamw_integers(integers.parameter.data(), integers.m.data(), integers.v.data(),
                              sums.data(), n, integers.step);
      // Nothing here is NaN or -0, so equal numbers have equal bits.
      ASSERT_EQ(integers.parameter, floats.parameter) << kernels->name << " n " << n;
      ASSERT_EQ(integers.m, floats.m) << kernels->name << " n " << n;
      ASSERT_EQ(integers.v, floats.v) << kernels->name << " n " << n;
      ASSERT_TRUE(n == 0 || floats.parameter != Example(n).parameter) << "nothing was updated";
    }
  }
}

TEST(AdamWTest, SeveralStepsFollowThePaper) {
  constexpr std::size_t kCount = 37;
  constexpr int kSteps = 20;
  for (const Kernels* kernels : runnable_kernels()) {
    Array parameter = normal_array(kCount, 1, 1);
    Array m(kCount);
    Array v(kCount);
    for (int number = 1; number <= kSteps; ++number) {
      Array gradient = normal_array(kCount, 1, static_cast<std::uint64_t>(number));
      gradient[5] = 0;
      gradient[6] = 1e-12f;
      const AdamWStep step = step_number(number);
      // The reference starts every step from the state in float, so that an error can't hide in
      // tolerances that grow with the steps.
      const Array parameter_before = parameter;
      const Array m_before = m;
      const Array v_before = v;
      kernels->adamw(parameter.data(), m.data(), v.data(), gradient.data(), kCount, step);
      for (std::size_t i = 0; i < kCount; ++i) {
        const State before = {parameter_before[i], m_before[i], v_before[i]};
        const State after = reference_step(before, gradient[i], step);
        const State error = step_error(before, after, gradient[i], step);
        ASSERT_NEAR(m[i], after.m, error.m) << kernels->name << " step " << number << " at " << i;
        ASSERT_NEAR(v[i], after.v, error.v) << kernels->name << " step " << number << " at " << i;
        ASSERT_NEAR(parameter[i], after.parameter, error.parameter)
            << kernels->name << " step " << number << " at " << i;
      }
    }
  }
}

TEST(AdamWTest, FirstStepMovesByTheLearningRate) {
  // m / bc1 = g and sqrt(v / bc2) = |g|: whatever the gradient, the step is lr, and decay besides.
  for (const Kernels* kernels : runnable_kernels()) {
    for (const float gradient : {1e-4f, 1.0f, 1e4f}) {
      float parameter = 0;
      float m = 0;
      float v = 0;
      AdamWStep step = step_number(1);
      step.gradient_scale = 1;
      kernels->adamw(&parameter, &m, &v, &gradient, 1, step);
      // epsilon / |g| is at most 1e-4 of the step.
      EXPECT_NEAR(parameter, -3e-3, 3e-3 * 1.1e-4) << kernels->name;
    }
  }
}

}  // namespace
}  // namespace cllm::kernels
