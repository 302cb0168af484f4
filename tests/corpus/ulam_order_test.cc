#include "cllm/corpus/ulam_order.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <set>

#include "cllm/base/random.h"

namespace cllm::corpus {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

// By walking: straight on while the cell to the left is taken, else to the left.
TEST(UlamOrderTest, CellsAreThoseOfTheSpiral) {
  std::set<std::pair<int, int>> taken;
  int x = 0, y = 0, dx = 0, dy = -1;
  for (std::uint64_t rank = 0; rank < 20'000; ++rank) {
    ASSERT_EQ(ulam_cell(rank), (Cell{x, y})) << rank;
    taken.insert({x, y});
    if (!taken.contains({x - dy, y + dx})) {
      const int turned = dx;
      dx = -dy;
      dy = turned;
    }
    x += dx;
    y += dy;
  }
  // Rings end at odd squares, exactly, as far out as a double's root is.
  const std::uint64_t large = (std::uint64_t{1} << 26) - 1;
  const auto k = static_cast<std::int32_t>(large / 2);
  EXPECT_EQ(ulam_cell(large * large - 1), (Cell{k, -k}));
  EXPECT_EQ(ulam_cell(large * large), (Cell{k + 1, -k}));
}

// Each cell once, each step to a neighbour, from corner to corner along an edge.
TEST(UlamOrderTest, HilbertsCurveFillsTheSquareStepByStep) {
  for (const int bits : {0, 1, 2, 3, 6}) {
    const std::int32_t side = 1 << bits;
    std::vector<Cell> walk(static_cast<std::size_t>(side * side), Cell{-1, -1});
    for (std::int32_t x = 0; x < side; ++x) {
      for (std::int32_t y = 0; y < side; ++y) {
        const std::uint64_t index = hilbert_index({x, y}, bits);
        ASSERT_LT(index, walk.size());
        ASSERT_EQ(walk[index], (Cell{-1, -1}));
        walk[index] = {x, y};
      }
    }
    EXPECT_EQ(walk.front(), (Cell{0, 0}));
    EXPECT_EQ(walk.back(), (Cell{side - 1, 0}));
    for (std::size_t i = 1; i < walk.size(); ++i) {
      ASSERT_EQ(std::abs(walk[i].x - walk[i - 1].x) + std::abs(walk[i].y - walk[i - 1].y), 1);
    }
  }
  EXPECT_EQ(hilbert_index({0x7FFFFFFF, 0}, 31), (std::uint64_t{1} << 62) - 1);
}

TEST(UlamOrderTest, RanksFallWithCountsAndTiesGoByNumber) {
  EXPECT_THAT(frequency_ranks(std::vector<std::uint64_t>{5, 9, 5, 0, 9}),
              ElementsAre(2, 0, 3, 4, 1));
  EXPECT_THAT(frequency_ranks({}), IsEmpty());
}

TEST(UlamOrderTest, RowsAreAPermutationThatKeepsWhatIsHotTogether) {
  RandomStream random(1, 0);
  for (const std::size_t v : {0U, 1U, 2U, 9U, 10U, 256U, 4096U, 50257U}) {
    std::vector<std::uint64_t> counts(v);
    for (std::uint64_t& count : counts) count = random.below(1000 * v);
    const std::vector<std::uint32_t> rows = ulam_rows(counts), ranks = frequency_ranks(counts);
    ASSERT_EQ(rows, ulam_rows(counts));
    std::vector<std::uint32_t> row_of_rank(v, static_cast<std::uint32_t>(v));
    for (std::size_t t = 0; t < v; ++t) row_of_rank[ranks[t]] = rows[t];
    std::vector<std::uint32_t> sorted = rows;
    std::ranges::sort(sorted);
    for (std::uint32_t row = 0; row < v; ++row) ASSERT_EQ(sorted[row], row);
    // The square of side d around the origin lies in an aligned square of side below 6 d, whose
    // cells are walked through in one go: in a binary third, a border is at least a third of any
    // aligned square's side away. All but the first few ranks fill their square.
    std::uint32_t least = static_cast<std::uint32_t>(v), largest = 0;
    for (std::size_t n = 1; n <= v; ++n) {
      least = std::min(least, row_of_rank[n - 1]);
      largest = std::max(largest, row_of_rank[n - 1]);
      const auto d = 2 * std::ceil((std::sqrt(static_cast<double>(n)) - 1) / 2) + 1;
      ASSERT_LT(largest - least, 36 * d * d) << n << " of " << v;
    }
  }
}

}  // namespace
}  // namespace cllm::corpus
