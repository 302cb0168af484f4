#include "cllm/lattice/decoders.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "cllm/base/random.h"
#include "cllm/kernels/kernels.h"

/// E8: against exhaustive search, and the AVX2 implementation against the portable one, bit
/// by bit.
namespace cllm::lattice {
namespace {

using Floats = std::vector<float>;
using Integers = std::vector<std::int32_t>;
using Decode = bool (*Decoders::*)(const float*, std::int32_t*, std::size_t);

/// What decoders.h allows for rounding errors.
constexpr double kTolerance = 0x1p-20;

std::vector<const Decoders*> all_decoders() {
  std::vector<const Decoders*> result = {&portable_decoders()};
  if (kernels::has_avx2()) result.push_back(&avx2_decoders());
  return result;
}

struct Lattice {
  std::string name;
  Decode decode;
  std::size_t dimension;
  double unit;  ///< what an integer of the result stands for
};

const std::array<Lattice, 1> kLattices = {
    Lattice{.name = "E8", .decode = &Decoders::e8, .dimension = 8, .unit = 0.5}};

double squared_distance(const float* x, const std::int32_t* point, const Lattice& lattice) {
  double sum = 0;
  for (std::size_t i = 0; i < lattice.dimension; ++i) {
    const double difference = double{x[i]} - lattice.unit * point[i];
    sum += difference * difference;
  }
  return sum;
}

/// By definition.
bool is_point(const std::int32_t* point, const Lattice& lattice) {
  std::int64_t sum = 0;
  for (std::size_t i = 0; i < lattice.dimension; ++i) {
    if (((point[i] ^ point[0]) & 1) != 0) return false;
    sum += point[i];
  }
  return sum % 4 == 0;
}

/// The least squared distance of x + shift to the points with even sum whose coordinates are among
/// the three integers around those of x, that is, to all that could be nearest.
double least_distance(const float* x, double shift, std::size_t dimension) {
  std::size_t choices = 1;
  for (std::size_t i = 0; i < dimension; ++i) choices *= 3;
  double least = std::numeric_limits<double>::infinity();
  for (std::size_t choice = 0; choice < choices; ++choice) {
    double squares = 0;
    double sum = 0;
    std::size_t digits = choice;
    for (std::size_t i = 0; i < dimension; ++i, digits /= 3) {
      const double target = x[i] + shift;
      const double coordinate = std::nearbyint(target) + static_cast<double>(digits % 3) - 1;
      squares += (target - coordinate) * (target - coordinate);
      sum += coordinate;
    }
    if (std::fmod(sum, 2) == 0) least = std::min(least, squares);
  }
  return least;
}

double exhaustive(const float* x, const Lattice& lattice) {
  const double whole = least_distance(x, 0, lattice.dimension);
  return lattice.dimension == 8 ? std::min(whole, least_distance(x, -0.5, 8)) : whole;
}

/// Targets of every kind, `count` of each.
Floats targets(std::size_t dimension, std::size_t count) {
  RandomStream random(1, dimension);
  Floats result;
  const auto add = [&](const auto& number) {
    for (std::size_t i = 0; i < count * dimension; ++i) result.push_back(number());
  };
  add([&] { return static_cast<float>(3 * random.normal()); });
  // Multiples of a quarter and of a half: ties in coordinates, between coordinates and between
  // the halves of E8.
  add([&] { return 0.25f * static_cast<float>(random.below(17)) - 2; });
  add([&] { return 0.5f * static_cast<float>(random.below(9)) - 2; });
  add([&] { return static_cast<float>(random.below(5)) - 2; });
  // Where float ends: halves are the last fractions.
  add([&] { return 0x1p22f - 0.5f * static_cast<float>(random.below(20)); });
  add([&] { return 0.5f * static_cast<float>(random.below(20)) - 0x1p22f; });
  add([&] { return static_cast<float>((random.uniform() - 0.5) * 0x1p22); });
  // Around 0, with both zeros and what is nearly a tie.
  constexpr std::array<float, 8> kSmall = {0.0f,   -0.0f,          0x1p-149f,       -0x1p-149f,
                                           1e-30f, 0x1.fffffep-2f, -0x1.fffffep-2f, 0x1.000002p-1f};
  add([&] { return kSmall[random.below(kSmall.size())]; });
  return result;
}

TEST(DecodersTest, FindsTheNearestPoint) {
  for (const Lattice& lattice : kLattices) {
    const std::size_t n = lattice.dimension;
    const Floats x = targets(n, n == 8 ? 40 : 1000);
    const std::size_t count = x.size() / n;
    for (const Decoders* decoders : all_decoders()) {
      Integers points(x.size());
      ASSERT_TRUE((decoders->*lattice.decode)(x.data(), points.data(), count));
      for (std::size_t k = 0; k < count; ++k) {
        ASSERT_TRUE(is_point(&points[k * n], lattice)) << lattice.name << " " << k;
        ASSERT_LE(squared_distance(&x[k * n], &points[k * n], lattice),
                  exhaustive(&x[k * n], lattice) + kTolerance)
            << decoders->name << " " << lattice.name << " " << k;
      }
    }
  }
}

TEST(DecodersTest, PointsDecodeToThemselves) {
  RandomStream random(2, 0);
  for (const Lattice& lattice : kLattices) {
    Floats x;
    Integers expected;
    while (expected.size() < 1000 * lattice.dimension) {
      Integers point(lattice.dimension);
      const auto parity = static_cast<std::int32_t>(random.below(2));
      for (std::int32_t& each : point) {
        each = static_cast<std::int32_t>(random.below(2001)) - 1000;
        if (lattice.dimension == 8) each = 2 * each + parity;
      }
      if (!is_point(point.data(), lattice)) continue;
      for (const std::int32_t each : point) {
        expected.push_back(each);
        x.push_back(static_cast<float>(lattice.unit * each));
      }
    }
    for (const Decoders* decoders : all_decoders()) {
      Integers points(x.size());
      ASSERT_TRUE(
          (decoders->*lattice.decode)(x.data(), points.data(), x.size() / lattice.dimension));
      EXPECT_EQ(points, expected) << decoders->name << " " << lattice.name;
    }
  }
}

// No point is farther than the covering radius, which the deep holes reach: 1.
TEST(DecodersTest, HolesAreAtTheCoveringRadius) {
  for (const Decoders* decoders : all_decoders()) {
    const Floats e8_hole = {1, 0, 0, 0, 0, 0, 0, 0};
    Integers point(8);
    ASSERT_TRUE(decoders->e8(e8_hole.data(), point.data(), 1));
    EXPECT_EQ(squared_distance(e8_hole.data(), point.data(), kLattices[0]), 1);
  }
}

TEST(DecodersTest, TiesAreBrokenAsStated) {
  struct Case {
    Floats x;
    Integers doubled;
  };
  const std::vector<Case> cases = {
      // The first of equally bad coordinates is moved; upwards, where it is an integer.
      {{1, 0, 0, 0, 0, 0, 0, 0}, {4, 0, 0, 0, 0, 0, 0, 0}},
      {{0, 0, 0, 3, 0, 0, 0, 0}, {2, 0, 0, 6, 0, 0, 0, 0}},
      // Halves go to the even integer.
      {{0.5f, 1.5f, 0, 0, 0, 0, 0, 0}, {0, 4, 0, 0, 0, 0, 0, 0}},
      {{0.5f, 1, 0, 0, 0, 0, 0, 0}, {2, 2, 0, 0, 0, 0, 0, 0}},
      {{-0.5f, 1, 0, 0, 0, 0, 0, 0}, {-2, 2, 0, 0, 0, 0, 0, 0}},
      // As near to 0 as to (½, …, ½).
      {{0.25f, 0.25f, 0.25f, 0.25f, 0.25f, 0.25f, 0.25f, 0.25f}, {0, 0, 0, 0, 0, 0, 0, 0}},
      {{0.5f, 0.5f, 0.5f, 0.5f, 0.5f, 0.5f, 0.5f, 0.5f}, {1, 1, 1, 1, 1, 1, 1, 1}},
  };
  for (const Decoders* decoders : all_decoders()) {
    for (const Case& one : cases) {
      Integers doubled(8);
      ASSERT_TRUE(decoders->e8(one.x.data(), doubled.data(), 1));
      EXPECT_EQ(doubled, one.doubled) << decoders->name;
    }
  }
}

TEST(DecodersTest, ImplementationsAgree) {
  if (!kernels::has_avx2()) GTEST_SKIP() << "this machine has no AVX2";
  constexpr std::int32_t kGuard = 0x5a5a5a5a;
  for (const Lattice& lattice : kLattices) {
    const std::size_t n = lattice.dimension;
    const Floats x = targets(n, 2000);
    for (std::size_t count : {std::size_t{0}, std::size_t{1}, std::size_t{7}, std::size_t{8},
                              std::size_t{9}, std::size_t{31}, x.size() / n - 1}) {
      for (const std::size_t offset : {0U, 1U, 3U}) {  // also across points
        Integers expected(count * n + 1, kGuard);
        Integers points(count * n + offset + 1, kGuard);
        ASSERT_TRUE(
            (portable_decoders().*lattice.decode)(x.data() + offset, expected.data(), count));
        ASSERT_TRUE(
            (avx2_decoders().*lattice.decode)(x.data() + offset, points.data() + offset, count));
        EXPECT_EQ(Integers(points.begin() + static_cast<std::ptrdiff_t>(offset), points.end()),
                  expected)
            << lattice.name << " " << count;
      }
    }
  }
}

TEST(DecodersTest, NumbersOutOfRangeAreRefused) {
  const float beyond = std::nextafter(kMostCoordinate, 0x1p30f);
  const float infinity = std::numeric_limits<float>::infinity();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const Lattice& lattice : kLattices) {
    for (const Decoders* decoders : all_decoders()) {
      constexpr std::size_t kCount = 11;
      for (std::size_t at = 0; at < kCount * lattice.dimension; ++at) {
        Floats x(kCount * lattice.dimension, 0.25f);
        Integers points(x.size());
        for (const float kept : {kMostCoordinate, -kMostCoordinate}) {
          x[at] = kept;
          EXPECT_TRUE((decoders->*lattice.decode)(x.data(), points.data(), kCount));
        }
        for (const float refused : {beyond, -beyond, 0x1p31f, 1e30f, infinity, -infinity, nan}) {
          x[at] = refused;
          EXPECT_FALSE((decoders->*lattice.decode)(x.data(), points.data(), kCount))
              << decoders->name << " " << lattice.name << " " << refused << " at " << at;
        }
      }
    }
  }
}

TEST(DecodersTest, TheChoiceFollowsTheKernels) {
  EXPECT_STREQ(select_decoders().name, kernels::has_avx2() ? "avx2" : "portable");
}

}  // namespace
}  // namespace cllm::lattice
