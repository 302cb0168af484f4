#include "cllm/io/formats/element_type.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "cllm/base/file.h"

namespace cllm::io {
namespace {

/// A format of few bits by its definition: sign, exponent, fraction.
struct Small {
  int exponent_bits, fraction_bits;

  double value(std::uint16_t bits) const {
    const int fraction = bits & ((1 << fraction_bits) - 1);
    const int exponent = bits >> fraction_bits & ((1 << exponent_bits) - 1);
    const int bias = (1 << (exponent_bits - 1)) - 1;
    const double sign = (bits & 0x8000) != 0 ? -1 : 1;
    if (exponent == (1 << exponent_bits) - 1) {
      return fraction == 0 ? sign * std::numeric_limits<double>::infinity() : std::nan("");
    }
    const double unit = std::ldexp(1.0, -fraction_bits);
    return exponent == 0 ? sign * std::ldexp(fraction * unit, 1 - bias)
                         : sign * std::ldexp(1 + fraction * unit, exponent - bias);
  }
};

constexpr Small kHalf{5, 10}, kBfloat{8, 7};

struct Conversion {
  const char* name;
  Small format;
  float (*to_float)(std::uint16_t);
  std::uint16_t (*from_float)(float);
};

class SmallFloats : public testing::TestWithParam<Conversion> {};

INSTANTIATE_TEST_SUITE_P(All, SmallFloats,
                         testing::Values(Conversion{"f16", kHalf, half_to_float, float_to_half},
                                         Conversion{"bf16", kBfloat, bfloat16_to_float,
                                                    float_to_bfloat16}),
                         [](const auto& test) { return std::string(test.param.name); });

TEST_P(SmallFloats, EveryNumberIsExactThereAndBack) {
  const auto& [name, format, to_float, from_float] = GetParam();
  for (unsigned bits = 0; bits < 0x10000; ++bits) {
    const auto small = static_cast<std::uint16_t>(bits);
    const float value = to_float(small);
    const double expected = format.value(small);
    if (std::isnan(expected)) {
      EXPECT_TRUE(std::isnan(value)) << bits;
      EXPECT_TRUE(std::isnan(to_float(from_float(value)))) << bits;
      continue;
    }
    ASSERT_EQ(static_cast<double>(value), expected) << bits;
    ASSERT_EQ(std::signbit(value), (bits & 0x8000) != 0) << bits;
    ASSERT_EQ(from_float(value), small) << bits;
  }
}

/// Between two neighbours, what is below the middle goes down, above it up, and the middle itself
/// to the even one; that is the whole of a rounding, which is monotone.
TEST_P(SmallFloats, EveryMiddleRoundsToEven) {
  const auto& [name, format, to_float, from_float] = GetParam();
  for (unsigned bits = 0; bits < 0x7fff; ++bits) {
    const auto lower = static_cast<std::uint16_t>(bits);
    const auto upper = static_cast<std::uint16_t>(bits + 1);
    double above = format.value(upper);
    // The number that would follow the largest takes infinity's place.
    if (std::isinf(above)) above = 2 * format.value(lower) - format.value(lower - 1);
    if (std::isnan(above) || std::isinf(format.value(lower))) break;
    const double exact = (format.value(lower) + above) / 2;
    const auto middle = static_cast<float>(exact);
    if (static_cast<double>(middle) != exact) continue;  // below a float's smallest
    const std::uint16_t even = bits % 2 == 0 ? lower : upper;
    constexpr float kFar = std::numeric_limits<float>::infinity();
    for (const std::uint16_t sign : {std::uint16_t{0}, std::uint16_t{0x8000}}) {
      const float s = sign == 0 ? 1.0f : -1.0f;
      ASSERT_EQ(from_float(s * middle), even | sign) << bits;
      ASSERT_EQ(from_float(s * std::nextafter(middle, 0.0f)), lower | sign) << bits;
      ASSERT_EQ(from_float(s * std::nextafter(middle, kFar)), upper | sign) << bits;
    }
  }
}

/// blocks.bin has rows of numbers and what gguf's Python code makes of them
/// (tests/interop/make_golden.py).
class Blocks : public testing::Test {
 protected:
  static constexpr std::size_t kCount = 12 * 64;
  template <typename T>
  std::vector<T> take(std::size_t count) {
    std::vector<T> values(count);
    std::memcpy(values.data(), golden_.data() + at_, count * sizeof(T));
    at_ += count * sizeof(T);
    return values;
  }
  const std::string golden_ = read_file(CLLM_TESTS_DIR "/interop/golden/blocks.bin");
  std::size_t at_ = 0;
};

TEST_F(Blocks, AreThoseOfGguf) {
  const std::vector<float> values = take<float>(kCount);
  for (const ElementType type : {ElementType::kQ8_0, ElementType::kQ4_0}) {
    const auto blocks = take<std::byte>(bytes_of(type, kCount));
    const auto rounded = take<float>(kCount);
    std::vector<std::byte> encoded(blocks.size());
    EXPECT_TRUE(encode(type, values, encoded));
    EXPECT_EQ(encoded, blocks) << name_of(type);
    std::vector<float> decoded(kCount);
    decode(type, blocks, decoded);
    EXPECT_EQ(decoded, rounded) << name_of(type);
  }
  EXPECT_EQ(at_, golden_.size());
}

TEST(Encoding, TellsWhereANumberDoesNotFit) {
  std::vector<float> values(32, 1.0f);
  std::vector<std::byte> bytes(128);
  for (const ElementType type : {ElementType::kF16, ElementType::kBf16, ElementType::kQ8_0,
                                 ElementType::kQ4_0, ElementType::kF32}) {
    EXPECT_TRUE(encode(type, values, std::span(bytes).first(bytes_of(type, 32))));
  }
  values[5] = 3e38f;
  EXPECT_FALSE(encode(ElementType::kF16, values, std::span(bytes).first(64)));
  EXPECT_FALSE(encode(ElementType::kQ8_0, values, std::span(bytes).first(34)));
  EXPECT_FALSE(encode(ElementType::kQ4_0, values, std::span(bytes).first(18)));
  values[5] = std::numeric_limits<float>::max();
  EXPECT_FALSE(encode(ElementType::kBf16, values, std::span(bytes).first(64)));
  EXPECT_TRUE(encode(ElementType::kF32, values, std::span(bytes).first(128)));
}

}  // namespace
}  // namespace cllm::io
