#include <cmath>

#include "kernels/twins.h"

/// AdamW: AVX2 against the portable twin, and both against the paper's algorithm in double over
/// several steps.
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

TEST(AdamWTest, Twins) {
  for (const std::size_t n : lengths()) {
    const Array parameter = normal_array(n, 1, 1);
    const Array m = normal_array(n, 0.1, 2);
    Array v = normal_array(n, 0.1, 3);
    for (float& each : v) {
      each *= each;
    }
    const Array gradient = normal_array(n, 1, 4);
    const AdamWStep step = step_number(7);
    std::vector<std::vector<double>> allowed(4);
    for (std::size_t i = 0; i < n; ++i) {
      const State before = {parameter[i], m[i], v[i]};
      const State error =
          step_error(before, reference_step(before, gradient[i], step), gradient[i], step);
      allowed[0].push_back(error.parameter);
      allowed[1].push_back(error.m);
      allowed[2].push_back(error.v);
    }
    expect_twins_agree({.name = "adamw",
                        .arrays = {parameter, m, v, gradient},
                        .tolerances = allowed,
                        .call = [=](const Kernels& k, float* const* p) {
                          k.adamw(p[0], p[1], p[2], p[3], n, step);
                        }});
  }
}

TEST(AdamWTest, SeveralStepsFollowThePaper) {
  constexpr std::size_t kCount = 37;
  constexpr int kSteps = 20;
  for (const Kernels* kernels : all_kernels()) {
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
  for (const Kernels* kernels : all_kernels()) {
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
