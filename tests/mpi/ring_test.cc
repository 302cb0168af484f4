#include "cllm/mpi/ring.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <tuple>
#include <vector>

#include "addends.h"
#include "allocations.h"
#include "cllm/mpi/world.h"

namespace cllm::mpi {
namespace {

/// Rings with segments of one element or a few, and one or several under way, so that short arrays
/// take all turns that long ones take.
class RingTest : public testing::TestWithParam<std::tuple<std::size_t, int>> {
 protected:
  /// The sum of element i by the order that the ring promises.
  float expected(std::size_t i, std::size_t count) const {
    const auto ranks = static_cast<std::size_t>(world_.size());
    std::size_t part = 0, end = 0;
    for (;; ++part) {
      end += count / ranks + (part < count % ranks ? 1 : 0);
      if (i < end) break;
    }
    const int first = static_cast<int>(part);
    float sum = addend(first, i);
    for (int k = 1; k < world_.size(); ++k) sum += addend((first + k) % world_.size(), i);
    return sum;
  }

  std::size_t wrong_after(Ring& ring, std::size_t count) const {
    return wrong_after_sum(ring, world_.rank(), count,
                           [this](std::size_t i, std::size_t of) { return expected(i, of); });
  }

  World world_;
  Ring ring_{MPI_COMM_WORLD,
             {.segment_bytes = std::get<0>(GetParam()) * sizeof(float),
              .in_flight = std::get<1>(GetParam())}};
};

INSTANTIATE_TEST_SUITE_P(Tunings, RingTest,
                         testing::Combine(testing::Values(1, 2, 7), testing::Values(1, 2, 5)));

TEST_P(RingTest, FloatsAreAddedInThePromisedOrder) {
  for (const std::size_t count :
       {0U, 1U, 2U, 3U, 4U, 5U, 6U, 7U, 13U, 14U, 15U, 28U, 29U, 64U, 211U}) {
    EXPECT_EQ(wrong_after(ring_, count), 0u) << count;
  }
}

// Nothing of an earlier sum may be left over for the next, also where ranks are late.
TEST_P(RingTest, SumsFollowEachOtherAtOnce) {
  const std::vector<std::int32_t> ones(64, 1);
  std::vector<std::int32_t> values = ones;
  std::uint32_t expected = 1;
  for (int i = 0; i < 100; ++i) {
    ring_.all_reduce(std::span(values).first(static_cast<std::size_t>(i % 3 == 0 ? 64 : 0)));
    if (i % 3 == 0) expected *= static_cast<std::uint32_t>(world_.size());
  }
  EXPECT_EQ(values, std::vector<std::int32_t>(64, static_cast<std::int32_t>(expected)));
}

// The order matters: added up from rank 0 on, some elements would have other bits. (Of two numbers
// the order does not matter, of three it does.)
TEST_P(RingTest, AnotherOrderWouldBeSeen) {
  if (world_.size() < 3) GTEST_SKIP() << "needs 3 ranks";
  std::size_t other = 0;
  for (std::size_t i = 0; i < 211; ++i) {
    float sum = addend(0, i);
    for (int rank = 1; rank < world_.size(); ++rank) sum += addend(rank, i);
    other += sum != expected(i, 211);
  }
  EXPECT_GT(other, 0u);
}

TEST_P(RingTest, ASumAllocatesNothing) {
  std::vector<float> floats(1000);
  std::vector<std::int32_t> integers(1000);
  ring_.all_reduce(floats);
  const long before = allocations;
  ring_.all_reduce(floats);
  ring_.all_reduce(integers);
  EXPECT_EQ(allocations, before);
  integers.assign(2000, 1);  // and this is seen
  EXPECT_GT(allocations, before);
}

}  // namespace
}  // namespace cllm::mpi
