#include <bit>
#include <cmath>

#include "kernels/implementations.h"

/// Muon's momentum: AVX2 against the portable implementation, and both against the definition.
namespace cllm::kernels {
namespace {

constexpr double kU = kRoundoff;
constexpr float kMomentum = 0.95f;
constexpr float kScale = 0x1.8p-3f;

struct Direction {
  double m;
  double direction;
};

Direction reference(double m, double gradient, bool nesterov) {
  const double mu = static_cast<double>(kMomentum);
  const double g = gradient * static_cast<double>(kScale);
  const double m_new = mu * m + g;
  return {m_new, nesterov ? g + mu * m_new : m_new};
}

/// The parts may cancel: g has one rounding, m one more, the direction both and its own; portable
/// rounds once.
Direction error(double m, double gradient) {
  const double magnitude = std::abs(m) + std::abs(gradient * static_cast<double>(kScale));
  return {3 * kU * magnitude, 6 * kU * magnitude};
}

struct Example {
  explicit Example(std::size_t n) : m(normal_array(n, 1, 1)), gradient(normal_array(n, 8, 2)) {}

  Array m;
  Array gradient;
};

TEST(MomentumTest, Implementations) {
  for (const std::size_t n : lengths()) {
    const Example example(n);
    std::vector<double> m_allowed, direction_allowed;
    for (std::size_t i = 0; i < n; ++i) {
      const Direction allowed = error(example.m[i], example.gradient[i]);
      m_allowed.push_back(allowed.m);
      direction_allowed.push_back(allowed.direction);
    }
    for (const bool nesterov : {false, true}) {
      expect_implementations_agree({.name = "momentum",
                                    .arrays = {example.m, example.gradient, Array(n, 7.0f)},
                                    .tolerances = {m_allowed, {}, direction_allowed},
                                    .call = [=](const Kernels& k, float* const* p) {
                                      k.momentum(p[0], p[1], p[2], kMomentum, kScale, nesterov, n);
                                    }});
    }
  }
}

TEST(MomentumTest, FollowsItsDefinition) {
  constexpr std::size_t kCount = 37;
  for (const Kernels* kernels : runnable_kernels()) {
    for (const bool nesterov : {false, true}) {
      const Example example(kCount);
      Array m = example.m, direction(kCount);
      kernels->momentum(m.data(), example.gradient.data(), direction.data(), kMomentum, kScale,
                        nesterov, kCount);
      for (std::size_t i = 0; i < kCount; ++i) {
        const Direction expected = reference(example.m[i], example.gradient[i], nesterov);
        const Direction allowed = error(example.m[i], example.gradient[i]);
        ASSERT_NEAR(m[i], expected.m, allowed.m) << kernels->name << " at " << i;
        ASSERT_NEAR(direction[i], expected.direction, allowed.direction)
            << kernels->name << " at " << i;
      }
    }
  }
}

TEST(MomentumTest, IntegersGiveTheBitsOfTheirFloats) {
  // Beyond 2^24 an integer is rounded: ties to even, and the largest to 2^31.
  constexpr std::int32_t kSums[] = {0,          1,         -1,         12345,      16777217,
                                    16777219,   -16777217, 2147483647, 2147483584, -2147483648,
                                    2147483583, 100000001, -7};
  for (const std::size_t n : lengths()) {
    Example example(n);
    Array sums(n);
    for (std::size_t i = 0; i < n; ++i) {
      sums[i] = std::bit_cast<float>(kSums[i % std::size(kSums)]);
      example.gradient[i] = static_cast<float>(kSums[i % std::size(kSums)]);
    }
    for (const bool nesterov : {false, true}) {
      for (const Kernels* kernels : runnable_kernels()) {
        const Operation floats = {.name = "momentum",
                                  .arrays = {example.m, example.gradient, Array(n)},
                                  .tolerances = {},
                                  .call = [=](const Kernels& k, float* const* p) {
                                    k.momentum(p[0], p[1], p[2], kMomentum, 0x1p-24f, nesterov, n);
                                  }};
        const Operation integers = {.name = "momentum_integers",
                                    .arrays = {example.m, sums, Array(n)},
                                    .tolerances = {},
                                    .call = [=](const Kernels& k, float* const* p) {
                                      k.momentum_integers(
                                          p[0], reinterpret_cast<const std::int32_t*>(p[1]), p[2],
                                          kMomentum, 0x1p-24f, nesterov, n);
                                    }};
        std::vector<Array> expected, actual;
        for (const std::size_t slack : {0U, 3U}) {
          ASSERT_TRUE(run(*kernels, floats, slack, &expected));
          ASSERT_TRUE(run(*kernels, integers, slack, &actual));
          // Nothing here is NaN or -0, so equal numbers have equal bits.
          ASSERT_EQ(actual[0], expected[0]) << kernels->name << " n " << n;
          ASSERT_EQ(actual[2], expected[2]) << kernels->name << " n " << n;
          ASSERT_TRUE(n == 0 || actual[0] != example.m) << "nothing was updated";
        }
      }
    }
  }
}

}  // namespace
}  // namespace cllm::kernels
