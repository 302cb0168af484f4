#include "cllm/lattice/integer_matrix.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "support/error_of.h"

namespace cllm::lattice {
namespace {

using support::error_of;
using ::testing::HasSubstr;

constexpr std::int64_t kLeast = std::numeric_limits<std::int64_t>::min();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

TEST(IntegerMatrixTest, IsRowMajor) {
  const IntegerMatrix matrix(2, 3, {1, 2, 3, 4, 5, 6});
  EXPECT_EQ(matrix(1, 0), 4);
  EXPECT_EQ(matrix.row(1)[2], 6);
  EXPECT_EQ(IntegerMatrix::identity(2), IntegerMatrix(2, 2, {1, 0, 0, 1}));
  EXPECT_THAT(error_of([] { IntegerMatrix(2, 3, {1, 2, 3}); }), HasSubstr("3 integers"));
  EXPECT_THAT(error_of([] { IntegerMatrix(2, 0, {1}); }), HasSubstr("1 integers"));
  // 2^63 rows of 2 columns are 0 modulo 2^64.
  EXPECT_THAT(error_of([] { IntegerMatrix(std::size_t{1} << 63, 2, {}); }),
              HasSubstr("0 integers"));
}

TEST(IntegerMatrixTest, BitWidth) {
  EXPECT_EQ(bit_width(IntegerMatrix(2, 2)), 0);
  EXPECT_EQ(bit_width(IntegerMatrix(1, 3, {0, -1, 1})), 1);
  EXPECT_EQ(bit_width(IntegerMatrix(1, 2, {7, -8})), 4);
  EXPECT_EQ(bit_width(IntegerMatrix(1, 1, {kLeast})), 64);
  EXPECT_EQ(bit_width(IntegerMatrix(1, 1, {kLeast + 1})), 63);
}

TEST(IntegerMatrixTest, TheScaleFillsTheBits) {
  for (const double largest : {1.0, 0.999, 1.001, 1e-200, 1e200, 3.0}) {
    for (const int bits : {1, 2, 20, 52}) {
      const double scale = power_of_two_scale(std::vector{largest / 7, -largest}, bits);
      EXPECT_GE(scale * largest, std::ldexp(1, bits - 1));
      EXPECT_LT(scale * largest, std::ldexp(1, bits));
      int exponent = 0;
      EXPECT_EQ(std::frexp(scale, &exponent), 0.5);
    }
  }
  for (const int bits : {0, -1, 53}) {
    EXPECT_THAT(error_of([&] { power_of_two_scale(std::vector{1.0}, bits); }),
                HasSubstr("1 to 52"));
  }
  EXPECT_THAT(error_of([] { power_of_two_scale(std::vector{0.0, -0.0}, 8); }), HasSubstr("zeros"));
  EXPECT_THAT(error_of([] { power_of_two_scale({}, 8); }), HasSubstr("zeros"));
  EXPECT_THAT(error_of([] { power_of_two_scale(std::vector{1e-310}, 8); }), HasSubstr("no scale"));
  EXPECT_THAT(error_of([] {
                power_of_two_scale(std::vector{1.0, kInfinity}, 8);
              }),
              HasSubstr("inf"));
  EXPECT_THAT(error_of([] { power_of_two_scale(std::vector{std::nan("")}, 8); }), HasSubstr("nan"));
}

TEST(IntegerMatrixTest, QuantizeRounds) {
  EXPECT_EQ(quantize(std::vector{0.24, -0.26, 1.25, -1.25}, 2, 2, 2),
            IntegerMatrix(2, 2, {0, -1, 3, -3}));
  EXPECT_EQ(quantize(std::vector{0x1p53 - 1}, 1, 1, 1)(0, 0), (std::int64_t{1} << 53) - 1);
  for (const double bad : {0x1p53, -0x1p53, 1e300, kInfinity, std::nan("")}) {
    EXPECT_THAT(error_of([&] { quantize(std::vector{bad}, 1, 1, 1); }), HasSubstr("53 bits"));
  }
  for (const double scale : {0.0, -1.0, kInfinity, std::nan("")}) {
    EXPECT_THAT(error_of([&] { quantize(std::vector{1.0}, 1, 1, scale); }), HasSubstr("no scale"));
  }
  EXPECT_THAT(error_of([] { quantize(std::vector{1.0}, 1, 2, 1); }), HasSubstr("1 integers"));
}

TEST(IntegerMatrixTest, Multiplies) {
  const IntegerMatrix transform(2, 2, {1, -2, 0, 3});
  EXPECT_EQ(multiply(transform, std::vector{1.0, 2.0, 0.5, 0.25, 1.0, 4.0}, 3),
            (std::vector{0.5, 0.0, -7.5, 0.75, 3.0, 12.0}));
  EXPECT_THAT(error_of([&] { multiply(transform, std::vector(5, 1.0), 3); }),
              HasSubstr("does not fit"));
}

}  // namespace
}  // namespace cllm::lattice
