#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <random>

#include "kernels/implementations.h"

/// Sums of integer coordinates: AVX2 against the portable implementation, bit by bit, and both
/// against the definition.
namespace cllm::kernels {
namespace {

using Integers = std::vector<std::int32_t>;
using Encode = void (*Kernels::*)(const float*, float, std::int32_t*, std::size_t);

constexpr std::int32_t kMost = std::numeric_limits<std::int32_t>::max();
constexpr std::int32_t kLeast = std::numeric_limits<std::int32_t>::min();
constexpr float kLargest = 0x1p31f - 128;  // the last float below 2^31
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

// --- Implementations
// ---------------------------------------------------------------------------------------

TEST(IntegersTest, ImplementationsOfEncode) {
  for (const std::size_t n : lengths()) {
    for (const Encode entry : {&Kernels::encode, &Kernels::encode_add}) {
      expect_implementations_agree({.name = entry == &Kernels::encode ? "encode" : "encode_add",
                                    .arrays = {normal_array(n, 1, 1), bits_of(any_integers(n, 2))},
                                    .tolerances = {{}, {}},
                                    .call = [=](const Kernels& k, float* const* p) {
                                      (k.*entry)(p[0], 0x1p27f, integers(p[1]), n);
                                    }});
    }
    for (const float scale : {1.0f, 0x1p20f, 0x1p31f, 0x1p57f}) {
      expect_implementations_agree({.name = "encode_add_wide",
                                    .arrays = {normal_array(n, 1, 1), bits_of(any_integers(n, 2)),
                                               bits_of(any_integers(n, 3))},
                                    .tolerances = {{}, {}, {}},
                                    .call = [=](const Kernels& k, float* const* p) {
                                      k.encode_add_wide(p[0], scale, integers(p[1]), integers(p[2]),
                                                        n);
                                    }});
    }
    expect_implementations_agree(
        {.name = "largest",
         .arrays = {normal_array(n, 1, 1), Array(1)},
         .tolerances = {{}, {}},
         .call = [=](const Kernels& k, float* const* p) { *p[1] = k.largest(p[0], n); }});
  }
}

TEST(IntegersTest, ImplementationsOfSums) {
  for (const std::size_t n : lengths()) {
    expect_implementations_agree(
        {.name = "add_integers",
         .arrays = {bits_of(any_integers(n, 1)), bits_of(any_integers(n, 2))},
         .tolerances = {{}, {}},
         .call = [=](const Kernels& k, float* const* p) {
           k.add_integers(integers(p[0]), integers(p[1]), n);
         }});
  }
}

// Also in every order of magnitude below the range, where the squares' sum is exact in double.
TEST(IntegersTest, ImplementationsOfNorm) {
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
      for (const Kernels* kernels : runnable_kernels()) {
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
  std::int64_t coordinate;
};

constexpr float kSubnormal = std::numeric_limits<float>::denorm_min();
constexpr Case kCases[] = {
    // Halves go to the even neighbour.
    {0.5f, 1, 0},
    {-0.5f, 1, 0},
    {1.5f, 1, 2},
    {-1.5f, 1, -2},
    {2.5f, 1, 2},
    {-2.5f, 1, -2},
    {3.5f, 1, 4},
    {0x1.fffffep-2f, 1, 0},
    {0x1.000002p-1f, 1, 1},
    {-0x1.000002p-1f, 1, -1},
    {-0.25f, 1, 0},
    {10, 0x1p-2f, 2},
    {14, 0x1p-2f, 4},
    {25, 4, 100},
    {0x1p22f + 0.5f, 1, 1 << 22},
    {0x1p22f + 1.5f, 1, (1 << 22) + 2},
    {kLargest, 1, kMost - 127},
    {-kLargest, 1, -(kMost - 127)},
    // Zeros and what underflows.
    {-0.0f, 0x1p30f, 0},
    {kSubnormal, 1, 0},
    {-kSubnormal, 0x1p127f, 0},
    {0x1.8p-127f, 0x1p127f, 2},
    {0x1p-100f, 0x1p-100f, 0},
    // What high words get a part of, around multiples of 2^29.
    {1, 0x1p29f, 1 << 29},
    {-1, 0x1p29f, -(1 << 29)},
    {0x1.000002p0f, 0x1p29f, (1 << 29) + 64},
    {-0x1.000002p0f, 0x1p29f, -(1 << 29) - 64},
    {1, 0x1p31f, std::int64_t{1} << 31},
    {-1, 0x1p31f, -(std::int64_t{1} << 31)},
    {0x1.000002p0f, 0x1p31f, (std::int64_t{1} << 31) + 256},
    {-0x1.000002p0f, 0x1p31f, -(std::int64_t{1} << 31) - 256},
    {3, 0x1p31f, std::int64_t{3} << 31},
    {-3, 0x1p31f, -(std::int64_t{3} << 31)},
    {5, 0x1p31f, std::int64_t{5} << 31},
    {1, 0x1p32f, std::int64_t{1} << 32},
    {-1, 0x1p32f, -(std::int64_t{1} << 32)},
    {0x1.fffffep0f, 0x1p32f, (std::int64_t{1} << 33) - 512},
    {-0x1.fffffep0f, 0x1p32f, -(std::int64_t{1} << 33) + 512},
    {0x1.fffffep0f, 0x1p58f, (std::int64_t{1} << 59) - (std::int64_t{1} << 35)},
    {-0x1.fffffep0f, 0x1p59f, -(std::int64_t{1} << 60) + (std::int64_t{1} << 36)},
    {1, 0x1p60f, std::int64_t{1} << 60},
};

std::int64_t joined(std::int32_t low, std::int32_t high) {
  return (std::int64_t{high} << 30) + low;
}

/// The case at each position of rows of several lengths, so that no lane is overlooked.
void check_everywhere(const Kernels& kernels, const Case& one) {
  for (const std::size_t n : {1U, 7U, 8U, 31U, 32U, 47U}) {
    for (std::size_t at = 0; at < n; ++at) {
      Array x(n, 0.0f);
      x[at] = one.x;
      const auto coordinate = [&](std::size_t i) { return i == at ? one.coordinate : 0; };
      for (const std::int32_t low_before : {0, 1, -1, (3 << 29) - 1, -(3 << 29)}) {
        for (const std::int32_t high_before : {0, 77, -(1 << 29), 1 << 29}) {
          Integers low(n, low_before), high(n, high_before);
          kernels.encode_add_wide(x.data(), one.scale, low.data(), high.data(), n);
          for (std::size_t i = 0; i < n; ++i) {
            ASSERT_EQ(joined(low[i], high[i]), joined(low_before, high_before) + coordinate(i))
                << kernels.name << " " << one.x << " times " << one.scale << " to " << low_before
                << ", " << high_before;
            ASSERT_LE(std::abs(std::int64_t{low[i]} - low_before), 1 << 29) << kernels.name;
          }
        }
      }
      if (std::abs(one.x * one.scale) >= 0x1p31f) continue;
      Integers sums(n, 77);
      kernels.encode(x.data(), one.scale, sums.data(), n);
      Integers added(n, kMost);
      kernels.encode_add(x.data(), one.scale, added.data(), n);
      for (std::size_t i = 0; i < n; ++i) {
        ASSERT_EQ(sums[i], coordinate(i)) << kernels.name << " " << one.x << " times " << one.scale;
        ASSERT_EQ(added[i], wrapped(std::int64_t{kMost} + coordinate(i))) << kernels.name;
      }
    }
  }
}

TEST(IntegersTest, TheLargestIsOfAnySignAndNoNumberIsLargest) {
  for (const Kernels* kernels : runnable_kernels()) {
    EXPECT_EQ(kernels->largest(nullptr, 0), 0) << kernels->name;
    for (const std::size_t n : {1U, 7U, 8U, 31U, 32U, 47U}) {
      for (std::size_t at = 0; at < n; ++at) {
        for (const float value : {3.0f, -3.0f, kSubnormal, 0x1p127f, kInfinity, -kInfinity}) {
          Array x(n, 0.0f);
          x[at] = value;
          EXPECT_EQ(kernels->largest(x.data(), n), std::abs(value)) << kernels->name;
          for (const float nan : {kNan, -kNan}) {
            Array with_nan = x;
            with_nan[(at + 5) % n] = nan;
            EXPECT_TRUE(std::isnan(kernels->largest(with_nan.data(), n))) << kernels->name;
          }
        }
      }
    }
  }
}

TEST(IntegersTest, EncodesByTheDefinition) {
  for (const Kernels* kernels : runnable_kernels()) {
    for (const Case& one : kCases) {
      check_everywhere(*kernels, one);
    }
  }
}

TEST(IntegersTest, EncodesRandomNumbersByTheDefinition) {
  constexpr std::size_t kCount = 4099;
  const Array x = normal_array(kCount, 1, 1);
  for (const Kernels* kernels : runnable_kernels()) {
    for (const double scale : {1.0, 0x1p10, 0x1p20, 0x1p28}) {
      Integers sums(kCount);
      kernels->encode(x.data(), static_cast<float>(scale), sums.data(), kCount);
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
  for (const Kernels* kernels : runnable_kernels()) {
    Integers sums = before;
    kernels->add_integers(x.data(), sums.data(), sums.size());
    EXPECT_EQ(sums, (Integers{kLeast, kMost, 0, -2, -1, -1})) << kernels->name;
  }
}

TEST(IntegersTest, NormOfTheLeast) {
  for (const Kernels* kernels : runnable_kernels()) {
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
  for (const Kernels* kernels : runnable_kernels()) {
    std::vector<Array> parts;
    for (std::size_t part = 0; part < kParts; ++part) {
      parts.push_back(normal_array(kCount, 0.5, part));
    }
    Integers forward(kCount);
    for (const Array& part : parts) {
      kernels->encode_add(part.data(), kScale, forward.data(), kCount);
    }
    Integers grouped(kCount);
    for (std::size_t part = kParts; part > 0; part -= 2) {
      Integers pair(kCount);
      kernels->encode(parts[part - 1].data(), kScale, pair.data(), kCount);
      kernels->encode_add(parts[part - 2].data(), kScale, pair.data(), kCount);
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
  Kernels faulty = reference_kernels();
  faulty.name = "faulty";
  faulty.add_integers = [](const std::int32_t* x, std::int32_t* y, std::size_t n) {
    reference_kernels().add_integers(x, y, n);
    y[n - 1] ^= 1;
  };
  // As floats: a NaN, an infinity that becomes one, zero that becomes subnormal, and 1.
  for (const std::int32_t last : {0x7fc01234, 0x7f800000, 0, 0x3f800000}) {
    const Operation operation = sum_of({5, last});
    EXPECT_TRUE(agree(reference_kernels(), reference_kernels(), operation));
    EXPECT_FALSE(agree(reference_kernels(), faulty, operation)) << last;
  }
}

}  // namespace
}  // namespace cllm::kernels
