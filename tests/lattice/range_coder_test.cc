#include "cllm/lattice/range_coder.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "cllm/base/random.h"

namespace cllm::lattice {
namespace {

/// Bits of which a share is 1, each tenth of them raw.
std::vector<bool> random_bits(double ones, std::size_t count, std::uint64_t seed) {
  RandomStream random(seed, 0);
  std::vector<bool> bits;
  for (std::size_t i = 0; i < count; ++i) bits.push_back(random.uniform() < ones);
  return bits;
}

std::string encode(const std::vector<bool>& bits) {
  RangeEncoder encoder;
  AdaptiveBit model;
  for (std::size_t i = 0; i < bits.size(); ++i) {
    if (i % 10 == 0) {
      encoder.encode_raw(bits[i] ? 1 : 0, 1);
    } else {
      encoder.encode(model, bits[i]);
    }
  }
  return encoder.finish();
}

/// Whether the bits come back, and whether the decoder then says that it is at the end.
std::pair<bool, bool> decode(const std::string& bytes, const std::vector<bool>& bits) {
  RangeDecoder decoder(bytes);
  AdaptiveBit model;
  bool same = true;
  for (std::size_t i = 0; i < bits.size(); ++i) {
    same &= (i % 10 == 0 ? decoder.decode_raw(1) != 0 : decoder.decode(model)) == bits[i];
  }
  return {same, decoder.is_at_end()};
}

TEST(RangeCoder, GivesBackWhatItTook) {
  for (const double ones : {0.0, 0.001, 0.3, 0.5, 0.97, 1.0}) {
    for (const std::size_t count : {0U, 1U, 2U, 7U, 100U, 20000U}) {
      const auto bits = random_bits(ones, count, count);
      EXPECT_EQ(decode(encode(bits), bits), std::pair(true, true)) << ones << " " << count;
    }
  }
}

/// Bits that keep the code near a carry: where the model is sure of 0 and 1 comes, the low end of
/// the interval grows most.
TEST(RangeCoder, CarriesThroughBytesOfOnes) {
  RandomStream random(1, 0);
  for (int round = 0; round < 300; ++round) {
    RangeEncoder encoder;
    std::vector<std::uint32_t> values;
    for (int i = 0; i < 40; ++i) {
      values.push_back(random.below(4) == 0 ? static_cast<std::uint32_t>(random.next_u32())
                                            : 0xffffffff);
      encoder.encode_raw(values.back(), 32);
    }
    const std::string bytes = encoder.finish();
    RangeDecoder decoder(bytes);
    for (const std::uint32_t value : values) ASSERT_EQ(decoder.decode_raw(32), value) << round;
    EXPECT_TRUE(decoder.is_at_end());
  }
}

TEST(RangeCoder, TakesTheBitsOfTheEntropy) {
  for (const double ones : {0.02, 0.2, 0.5}) {
    const std::size_t count = 100000;
    const auto bits = random_bits(ones, count, 3);
    const double entropy = -ones * std::log2(ones) - (1 - ones) * std::log2(1 - ones);
    const double expected = static_cast<double>(count) * (0.9 * entropy + 0.1) / 8;
    const auto size = static_cast<double>(encode(bits).size());
    // A mean over a memory of m bits costs 1/(2 m ln 2) of a bit each: 0.003.
    EXPECT_LT(size, expected + 0.004 * static_cast<double>(count) / 8) << ones;
    EXPECT_GT(size, 0.98 * expected) << ones;
  }
}

TEST(RangeCoder, KnowsTooFewAndTooManyBytes) {
  const auto bits = random_bits(0.5, 1000, 4);
  const std::string bytes = encode(bits);
  EXPECT_FALSE(decode(bytes.substr(0, bytes.size() - 1), bits).second);
  EXPECT_FALSE(decode(bytes + '\0', bits).second);
}

}  // namespace
}  // namespace cllm::lattice
