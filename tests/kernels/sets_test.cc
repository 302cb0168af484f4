#include <algorithm>
#include <bit>
#include <iterator>
#include <random>
#include <set>

#include "kernels/implementations.h"

namespace cllm::kernels {
namespace {

using Indices = std::vector<std::uint32_t>;

/// The largest that an index may be.
constexpr std::uint32_t kLargest = 0xFFFFFFFE;

/// `n` different indices from `least` up to `most`, ascending.
Indices random_set(std::size_t n, std::uint32_t least, std::uint32_t most,
                   std::mt19937_64& generator) {
  std::uniform_int_distribution<std::uint32_t> any(least, most);
  std::set<std::uint32_t> chosen;
  while (chosen.size() < n) chosen.insert(any(generator));
  return {chosen.begin(), chosen.end()};
}

/// By the definition.
std::uint32_t expected(const Indices& a, const Indices& weights, const Indices& b) {
  std::uint32_t sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (std::ranges::count(b, a[i]) > 0) sum += weights[i];
  }
  return sum;
}

Array bits_of(const Indices& indices) {
  Array result;
  std::ranges::transform(indices, std::back_inserter(result),
                         [](std::uint32_t each) { return std::bit_cast<float>(each); });
  return result;
}

/// Both implementations, between guards and at several alignments, against the definition.
void expect_right(const Indices& a, const Indices& weights, const Indices& b) {
  const auto bits = [](const float* x) { return reinterpret_cast<const std::uint32_t*>(x); };
  const std::uint32_t sum = expected(a, weights, b);
  for (const Kernels* kernels : runnable_kernels()) {
    for (const std::size_t slack : {0U, 1U, 5U}) {
      std::uint32_t result = ~sum;
      std::vector<Array> after;
      ASSERT_TRUE(run(*kernels,
                      {.name = "shared_weight",
                       .arrays = {bits_of(a), bits_of(weights), bits_of(b)},
                       .tolerances = {{}, {}, {}},
                       .call =
                           [&](const Kernels& k, float* const* p) {
                             result = k.shared_weight(bits(p[0]), bits(p[1]), a.size(), bits(p[2]),
                                                      b.size());
                           }},
                      slack, &after));
      ASSERT_EQ(result, sum) << kernels->name << ": " << a.size() << " and " << b.size();
    }
  }
}

// Weights of all 32 bits, so that sums wrap around; sets from almost equal to disjoint.
TEST(SetsTest, SharedWeightIsThatOfTheIntersection) {
  std::mt19937_64 generator(1);
  std::uniform_int_distribution<std::uint32_t> any;
  for (const std::size_t na : {0U, 1U, 2U, 7U, 8U, 9U, 15U, 16U, 17U, 40U}) {
    for (const std::size_t nb : {0U, 1U, 3U, 7U, 8U, 9U, 16U, 23U, 33U}) {
      for (const std::uint32_t range : {45u, 120u, kLargest}) {
        Indices weights(na);
        std::ranges::generate(weights, [&] { return any(generator); });
        const Indices b = random_set(nb, 0, range, generator);
        expect_right(random_set(na, 0, range, generator), weights, b);
      }
    }
  }
}

// What stands in the lanes past an end is no index: neither 0 nor the largest may be found there.
TEST(SetsTest, LanesPastTheEndAreNoMembers) {
  for (const std::size_t n : {1U, 5U, 7U, 8U, 9U}) {
    Indices from_zero(n), to_largest(n);
    for (std::uint32_t i = 0; i < n; ++i) {
      from_zero[i] = 2 * i;
      to_largest[n - 1 - i] = kLargest - i;
    }
    const Indices weights(n, 3);
    for (const Indices& a : {from_zero, to_largest}) {
      expect_right(a, weights, {1});
      expect_right(a, weights, {0});
      expect_right(a, weights, {kLargest});
      expect_right(a, weights, from_zero);
      expect_right(a, weights, to_largest);
    }
    expect_right({0}, {7}, to_largest);
    expect_right({kLargest}, {7}, from_zero);
  }
}

// Ranges that overlap only in a late block of one of them.
TEST(SetsTest, BlocksAreMetHoweverFarApart) {
  Indices low(40), high(40), weights(40, 1);
  for (std::uint32_t i = 0; i < 40; ++i) {
    low[i] = i;
    high[i] = 39 + i;
  }
  expect_right(low, weights, high);
  expect_right(high, weights, low);
  expect_right(high, weights, {0, 39, 78});
  expect_right({0, 39, 78}, {1, 2, 4}, high);
}

}  // namespace
}  // namespace cllm::kernels
