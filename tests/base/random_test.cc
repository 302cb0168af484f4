#include "cllm/base/random.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace cllm {
namespace {

// Known answers of Random123 1.09, file kat_vectors, philox4x32 with 10 rounds.
TEST(Random, PhiloxGivesTheKnownAnswers) {
  using Block = std::array<std::uint32_t, 4>;
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, {0, 0}),
            (Block{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox4x32({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}),
            (Block{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Block{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Random, StreamsOfASeedAreReproducibleAndDiffer) {
  const auto draw = [](std::uint64_t seed, std::uint64_t stream) {
    RandomStream random(seed, stream);
    std::vector<std::uint64_t> values(100);
    for (auto& value : values) value = random.next_u64();
    return values;
  };
  EXPECT_EQ(draw(1, 2), draw(1, 2));
  EXPECT_NE(draw(1, 2), draw(1, 3));
  EXPECT_NE(draw(1, 2), draw(2, 2));
  EXPECT_NE(draw(1, 2), draw(1, 2 + (std::uint64_t{1} << 32)));
}

// Means of n draws lie within 5 standard errors of the true moments; the seed is fixed, so the test
// never fails by chance once it has passed.
TEST(Random, MomentsAreThoseOfTheDistributions) {
  constexpr int kDraws = 200000;
  RandomStream random(7, 0);
  double uniform = 0, normal = 0, squared = 0;
  std::vector<int> counts(7);
  for (int i = 0; i < kDraws; ++i) {
    const double u = random.uniform();
    ASSERT_GE(u, 0.0);
    ASSERT_LT(u, 1.0);
    uniform += u;
    const double z = random.normal();
    normal += z;
    squared += z * z;
    ++counts[random.below(7)];
  }
  const double error = 5 / std::sqrt(static_cast<double>(kDraws));
  EXPECT_NEAR(uniform / kDraws, 0.5, error * std::sqrt(1.0 / 12));
  EXPECT_NEAR(normal / kDraws, 0.0, error);
  EXPECT_NEAR(squared / kDraws, 1.0, error * std::sqrt(2.0));
  for (const int count : counts) EXPECT_NEAR(count, kDraws / 7.0, 5 * std::sqrt(kDraws / 7.0));
}

}  // namespace
}  // namespace cllm
