#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <random>

#include "kernels/twins.h"

/// Sums of integer coordinates: AVX2 against the portable twin, bit by bit, and both against the
/// definition.
namespace cllm::kernels {
namespace {

using Integers = std::vector<std::int32_t>;
using Encode = bool (*Kernels::*)(const float*, float, float, std::int32_t*, std::size_t);

constexpr std::int32_t kMost = std::numeric_limits<std::int32_t>::max();
constexpr std::int32_t kLeast = std::numeric_limits<std::int32_t>::min();
constexpr float kLargestLimit = 0x1p31f - 128;  // the last float below 2^31
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

/// An array of an Operation that holds integers.
Array bits_of(const Integers& integers) {
  Array result(integers.size());
  std::ranges::transform(integers, result.begin(),
                         [](std::int32_t each) { return std::bit_cast<float>(each); });
  return result;
}

std::int32_t* integers(float* bits) { return reinterpret_cast<std::int32_t*>(bits); }

/// Over the whole range, so that sums wrap around and many bit patterns are NaNs of float.
Integers any_integers(std::size_t n, std::uint64_t seed) {
  std::mt19937_64 generator(seed * 7919 + n);
  std::uniform_int_distribution<std::int32_t> any(kLeast, kMost);
  Integers result(n);
  std::ranges::generate(result, [&] { return any(generator); });
  return result;
}

std::int32_t wrapped(std::int64_t sum) { return static_cast<std::int32_t>(sum); }

// --- Twins ---------------------------------------------------------------------------------------

TEST(IntegersTest, TwinsOfEncode) {
  for (const std::size_t n : lengths()) {
    for (const Encode entry : {&Kernels::encode, &Kernels::encode_add}) {
      expect_twins_agree({.name = entry == &Kernels::encode ? "encode" : "encode_add",
                          .arrays = {normal_array(n, 1, 1), bits_of(any_integers(n, 2)), Array(1)},
                          .tolerances = {{}, {}, {}},
                          .call = [=](const Kernels& k, float* const* p) {
                            const bool kept = (k.*entry)(p[0], 0x1p27f, 0x1p30f, integers(p[1]), n);
                            *p[2] = kept ? 1 : 0;
                          }});
    }
  }
}

TEST(IntegersTest, TwinsOfSums) {
  for (const std::size_t n : lengths()) {
    expect_twins_agree({.name = "add_integers",
                        .arrays = {bits_of(any_integers(n, 1)), bits_of(any_integers(n, 2))},
                        .tolerances = {{}, {}},
                        .call = [=](const Kernels& k, float* const* p) {
                          k.add_integers(integers(p[0]), integers(p[1]), n);
                        }});
  }
}

// Also in every order of magnitude below the range, where the squares' sum is exact in double.
TEST(IntegersTest, TwinsOfNorm) {
  for (const std::size_t n : lengths()) {
    for (const int shift : {0, 13, 27}) {
      Integers x = any_integers(n, 1);
      std::uint32_t largest = 0;
      double squares = 0;
      for (std::int32_t& each : x) {
        each >>= shift;
        const double value = each;
        squares += value * value;
        largest = std::max(largest, static_cast<std::uint32_t>(std::abs(value)));
      }
      // Positive terms, each rounded or not, added in any two orders.
      const double tolerance =
          shift == 27 ? 0 : 2 * (static_cast<double>(n) + 1) * 0x1p-53 * squares;
      for (const Kernels* kernels : all_kernels()) {
        double first = 0;
        for (const std::size_t slack : {0U, 1U, 5U}) {
          IntegerNorm norm{};
          std::vector<Array> after;
          ASSERT_TRUE(
              run(*kernels,
                  {.name = "integer_norm",
                   .arrays = {bits_of(x)},
                   .tolerances = {{}},
                   .call = [&](const Kernels& k,
                               float* const* p) { norm = k.integer_norm(integers(p[0]), n); }},
                  slack, &after));
          EXPECT_EQ(norm.largest, largest) << kernels->name << " n " << n;
          EXPECT_NEAR(norm.squares, squares, tolerance) << kernels->name << " n " << n;
          if (slack == 0) first = norm.squares;
          EXPECT_EQ(norm.squares, first) << kernels->name << ": alignment changes the sum of " << n;
        }
      }
    }
  }
}

// --- The definition ------------------------------------------------------------------------------

struct Case {
  float x;
  float scale;
  float limit;
  bool kept;
  std::int32_t coordinate;  ///< where it is kept
};

constexpr float kSubnormal = std::numeric_limits<float>::denorm_min();
constexpr Case kCases[] = {
    // Halves go to the even neighbour.
    {0.5f, 1, 100, true, 0},
    {-0.5f, 1, 100, true, 0},
    {1.5f, 1, 100, true, 2},
    {-1.5f, 1, 100, true, -2},
    {2.5f, 1, 100, true, 2},
    {-2.5f, 1, 100, true, -2},
    {3.5f, 1, 100, true, 4},
    {0x1.fffffep-2f, 1, 100, true, 0},
    {0x1.000002p-1f, 1, 100, true, 1},
    {10, 0x1p-2f, 100, true, 2},
    {14, 0x1p-2f, 100, true, 4},
    {0x1p22f + 0.5f, 1, 0x1p30f, true, 1 << 22},
    {0x1p22f + 1.5f, 1, 0x1p30f, true, (1 << 22) + 2},
    // The limit is kept, what is beyond by a bit is not.
    {100, 1, 100, true, 100},
    {-100, 1, 100, true, -100},
    {0x1.900002p6f, 1, 100, false, 0},
    {-0x1.900002p6f, 1, 100, false, 0},
    {25, 4, 100, true, 100},
    {0x1.900002p4f, 4, 100, false, 0},
    {0.5f, 1, 0.5f, true, 0},
    {0.75f, 1, 0.5f, false, 0},
    {kLargestLimit, 1, kLargestLimit, true, kMost - 127},
    {-kLargestLimit, 1, kLargestLimit, true, -(kMost - 127)},
    {0x1p31f, 1, kLargestLimit, false, 0},
    {-0x1p31f, 1, kLargestLimit, false, 0},
    {0x1p40f, 1, kLargestLimit, false, 0},
    // What is no number, or none after the product.
    {kNan, 1, kLargestLimit, false, 0},
    {-kNan, 1, kLargestLimit, false, 0},
    {kInfinity, 1, kLargestLimit, false, 0},
    {-kInfinity, 0x1p-100f, kLargestLimit, false, 0},
    {0x1p100f, 0x1p100f, kLargestLimit, false, 0},
    // Zeros and what underflows.
    {-0.0f, 0x1p30f, 100, true, 0},
    {kSubnormal, 1, 100, true, 0},
    {-kSubnormal, 0x1p127f, 100, true, 0},
    {0x1.8p-127f, 0x1p127f, 100, true, 2},
    {0x1p-100f, 0x1p-100f, 100, true, 0},
};

/// The case at each position of rows of several lengths, so that no lane is overlooked.
void check_everywhere(const Kernels& kernels, const Case& one) {
  for (const std::size_t n : {1U, 7U, 8U, 31U, 32U, 47U}) {
    for (std::size_t at = 0; at < n; ++at) {
      Array x(n, 0.0f);
      x[at] = one.x;
      Integers sums(n, 77);
      EXPECT_EQ(kernels.encode(x.data(), one.scale, one.limit, sums.data(), n), one.kept)
          << kernels.name << " " << one.x << " at " << at << " of " << n;
      Integers added(n, kMost);
      EXPECT_EQ(kernels.encode_add(x.data(), one.scale, one.limit, added.data(), n), one.kept)
          << kernels.name << " " << one.x << " at " << at << " of " << n;
      if (!one.kept) continue;
      for (std::size_t i = 0; i < n; ++i) {
        const std::int32_t coordinate = i == at ? one.coordinate : 0;
        ASSERT_EQ(sums[i], coordinate) << kernels.name << " " << one.x << " times " << one.scale;
        ASSERT_EQ(added[i], wrapped(std::int64_t{kMost} + coordinate)) << kernels.name;
      }
    }
  }
}

TEST(IntegersTest, EncodesByTheDefinition) {
  for (const Kernels* kernels : all_kernels()) {
    for (const Case& one : kCases) {
      check_everywhere(*kernels, one);
    }
  }
}

TEST(IntegersTest, EncodesRandomNumbersByTheDefinition) {
  constexpr std::size_t kCount = 4099;
  const Array x = normal_array(kCount, 1, 1);
  for (const Kernels* kernels : all_kernels()) {
    for (const double scale : {1.0, 0x1p10, 0x1p20, 0x1p28}) {
      Integers sums(kCount);
      ASSERT_TRUE(
          kernels->encode(x.data(), static_cast<float>(scale), kLargestLimit, sums.data(), kCount));
      for (std::size_t i = 0; i < kCount; ++i) {
        // The product is exact in double.
        ASSERT_EQ(sums[i], std::nearbyint(x[i] * scale)) << kernels->name << " " << x[i];
      }
    }
  }
}

TEST(IntegersTest, SumsWrapAround) {
  const Integers x = {1, -1, kLeast, kMost, kLeast, -2};
  const Integers before = {kMost, kLeast, kLeast, kMost, kMost, 1};
  for (const Kernels* kernels : all_kernels()) {
    Integers sums = before;
    kernels->add_integers(x.data(), sums.data(), sums.size());
    EXPECT_EQ(sums, (Integers{kLeast, kMost, 0, -2, -1, -1})) << kernels->name;
  }
}

TEST(IntegersTest, NormOfTheLeast) {
  for (const Kernels* kernels : all_kernels()) {
    for (const std::size_t n : {1U, 8U, 19U}) {
      for (std::size_t at = 0; at < n; ++at) {
        Integers x(n, 0);
        x[at] = kLeast;
        const IntegerNorm norm = kernels->integer_norm(x.data(), n);
        EXPECT_EQ(norm.squares, 0x1p62) << kernels->name;
        EXPECT_EQ(norm.largest, 0x80000000u) << kernels->name;
      }
    }
    const IntegerNorm nothing = kernels->integer_norm(nullptr, 0);
    EXPECT_EQ(nothing.squares, 0) << kernels->name;
    EXPECT_EQ(nothing.largest, 0u) << kernels->name;
  }
}

// What the kernels are for: whatever the order and the grouping, and though sums on the way wrap
// around, the same bits.
TEST(IntegersTest, SumsHaveNoOrder) {
  constexpr std::size_t kCount = 333;
  constexpr std::size_t kParts = 6;
  constexpr float kScale = 0x1p29f;
  for (const Kernels* kernels : all_kernels()) {
    std::vector<Array> parts;
    for (std::size_t part = 0; part < kParts; ++part) {
      parts.push_back(normal_array(kCount, 0.5, part));
    }
    Integers forward(kCount);
    for (const Array& part : parts) {
      ASSERT_TRUE(kernels->encode_add(part.data(), kScale, kLargestLimit, forward.data(), kCount));
    }
    Integers grouped(kCount);
    for (std::size_t part = kParts; part > 0; part -= 2) {
      Integers pair(kCount);
      ASSERT_TRUE(
          kernels->encode(parts[part - 1].data(), kScale, kLargestLimit, pair.data(), kCount));
      ASSERT_TRUE(
          kernels->encode_add(parts[part - 2].data(), kScale, kLargestLimit, pair.data(), kCount));
      kernels->add_integers(pair.data(), grouped.data(), kCount);
    }
    EXPECT_EQ(forward, grouped) << kernels->name;
  }
}

// --- The comparison must be able to refuse -------------------------------------------------------

Operation sum_of(const Integers& x) {
  return {.name = "add_integers",
          .arrays = {bits_of(x), bits_of(Integers(x.size()))},
          .tolerances = {{}, {}},
          .call = [n = x.size()](const Kernels& k, float* const* p) {
            k.add_integers(integers(p[0]), integers(p[1]), n);
          }};
}

TEST(IntegersTest, TheComparisonRefusesAnIntegerThatIsOffByOne) {
  Kernels faulty = portable_kernels();
  faulty.name = "faulty";
  faulty.add_integers = [](const std::int32_t* x, std::int32_t* y, std::size_t n) {
    portable_kernels().add_integers(x, y, n);
    y[n - 1] ^= 1;
  };
  // As floats: a NaN, an infinity that becomes one, zero that becomes subnormal, and 1.
  for (const std::int32_t last : {0x7fc01234, 0x7f800000, 0, 0x3f800000}) {
    const Operation operation = sum_of({5, last});
    EXPECT_TRUE(agree(portable_kernels(), portable_kernels(), operation));
    EXPECT_FALSE(agree(portable_kernels(), faulty, operation)) << last;
  }
}

}  // namespace
}  // namespace cllm::kernels
