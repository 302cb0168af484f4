#include "cllm/lattice/coordinates.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "cllm/base/random.h"
#include "cllm/lattice/decoders.h"
#include "support/error_of.h"

namespace cllm::lattice {
namespace {

using Integers = std::vector<std::int32_t>;
using support::error_of;

Integers round_trip(const Integers& points, std::size_t columns, LatticeKind kind) {
  Integers found(points.size(), -77);
  decode_coordinates(encode_coordinates(points, columns, kind), columns, kind, found);
  return found;
}

/// Twice the coordinates of points of E8 near normal targets, with Z beyond the last eight columns.
Integers e8_points(std::size_t rows, std::size_t columns, double deviation, std::uint64_t seed) {
  RandomStream random(seed, 0);
  Integers points(rows * columns);
  std::vector<float> target(kE8Dimension);
  for (std::size_t row = 0; row < rows; ++row) {
    std::size_t i = 0;
    for (; i + kE8Dimension <= columns; i += kE8Dimension) {
      for (float& x : target) x = static_cast<float>(deviation * random.normal());
      portable_decoders().e8(target.data(), &points[row * columns + i], 1);
    }
    for (; i < columns; ++i) {
      points[row * columns + i] = 2 * static_cast<std::int32_t>(deviation * random.normal());
    }
  }
  return points;
}

Integers integer_points(std::size_t rows, std::size_t columns, double deviation) {
  RandomStream random(9, 0);
  Integers points;
  for (std::size_t i = 0; i < rows * columns; ++i) {
    // Rows and columns of different size, as steps and neurons make them.
    const double size = std::exp2(static_cast<double>(i % columns % 5) - 2) *
                        std::exp2(static_cast<double>(i / columns % 3) - 1);
    points.push_back(static_cast<std::int32_t>(std::lround(deviation * size * random.normal())));
  }
  return points;
}

TEST(Coordinates, OfIntegersComeBack) {
  for (const double deviation : {0.0, 0.1, 1.0, 30.0, 1e6}) {
    for (const std::size_t columns : {1U, 5U, 64U}) {
      const Integers points = integer_points(40, columns, deviation);
      EXPECT_EQ(round_trip(points, columns, LatticeKind::kIntegers), points) << deviation;
    }
  }
  EXPECT_EQ(round_trip({}, 3, LatticeKind::kIntegers), Integers{});
}

TEST(Coordinates, OfE8ComeBack) {
  for (const double deviation : {0.0, 0.3, 1.0, 30.0, 1e5}) {
    for (const std::size_t columns : {3U, 8U, 24U, 29U}) {
      const Integers points = e8_points(40, columns, deviation, columns);
      EXPECT_EQ(round_trip(points, columns, LatticeKind::kE8), points) << deviation;
    }
  }
}

TEST(Coordinates, OfTheLargestSizeComeBack) {
  constexpr std::int32_t kMost = (1 << 28) - 1;
  const Integers points = {kMost, -kMost, 0, 1, -1, kMost, -kMost, 2};
  EXPECT_EQ(round_trip(points, 4, LatticeKind::kIntegers), points);
  // All odd, and a sum that 4 divides; then all even.
  const Integers e8 = {kMost,     -kMost, kMost, -kMost, kMost, -kMost, kMost, -kMost,
                       kMost - 1, 0,      0,     0,      0,     0,      0,     1 - kMost};
  EXPECT_EQ(round_trip(e8, 8, LatticeKind::kE8), e8);
}

double normal_entropy(double deviation) {
  return 0.5 * std::log2(2 * M_PI * M_E * deviation * deviation);
}

TEST(Coordinates, TakeTheBitsOfTheirEntropy) {
  const std::size_t rows = 600, columns = 60;
  const Integers points = integer_points(rows, columns, 4);
  const double bits =
      8.0 *
      static_cast<double>(encode_coordinates(points, columns, LatticeKind::kIntegers).size()) /
      static_cast<double>(points.size());
  // Deviations 4 · 2^(-2…2) · 2^(-1…1), whose mean log2 is 2: the entropy is that of a deviation of
  // 4 all over, a little more where it is below 1. Some thousand bits are spent on learning: each
  // of about 20 models has 20 probabilities, which cost some bits, and so does the size of each
  // row.
  EXPECT_NEAR(bits, normal_entropy(4), 0.05 * normal_entropy(4));
}

/// E8 has one point in a unit of volume, like Z^8: so many bits must it take.
TEST(Coordinates, OfE8TakeNoMoreThanOfIntegers) {
  const std::size_t rows = 1000, columns = 64;
  const Integers points = e8_points(rows, columns, 4, 2);
  const double bits =
      8.0 * static_cast<double>(encode_coordinates(points, columns, LatticeKind::kE8).size()) /
      static_cast<double>(points.size());
  EXPECT_NEAR(bits, normal_entropy(4), 0.01 * normal_entropy(4));
}

TEST(Coordinates, OtherBytesAreRefusedOrComeOut) {
  const Integers points = e8_points(30, 24, 2, 3);
  const std::string bytes = encode_coordinates(points, 24, LatticeKind::kE8);
  Integers found(points.size());
  const auto decode = [&](const std::string& spoiled) {
    decode_coordinates(spoiled, 24, LatticeKind::kE8, found);
  };
  EXPECT_NE(error_of([&] { decode(bytes.substr(0, bytes.size() - 3)); }), "");
  EXPECT_NE(error_of([&] { decode(bytes + "xyz"); }), "");
  EXPECT_NE(error_of([&] { decode(""); }), "");
  // Whatever the bytes: an end without a crash.
  RandomStream random(5, 0);
  for (std::size_t round = 0; round < 200; ++round) {
    std::string noise(random.below(300), '\0');
    for (char& byte : noise) byte = static_cast<char>(random.below(256) | (round % 2 * 0xf0));
    try {
      decode(noise);
    } catch (const Error&) {
    }
  }
}

}  // namespace
}  // namespace cllm::lattice
