// Sums of integers, with and without high words: how exact they are beside sums of floats, and that
// they have no order.
#include "cllm/train/integer_sums.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include "cllm/base/error.h"
#include "cllm/base/random.h"
#include "cllm/train/scales.h"
#include "support/thread_ranks.h"

namespace cllm::train {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

/// The rows of a small token embedding, which is all that is summed.
struct Table {
  static constexpr std::size_t kRows = 8;
  static constexpr std::size_t kColumns = 64;

  model::Layout layout{
      {.layers = 1, .heads = 1, .channels = kColumns, .context = 4, .vocabulary = kRows}};
  model::Tiling tiling{layout};
  std::vector<SumRow> rows;
  std::vector<std::int32_t> exponents = initial_exponents(tiling.rows());

  Table() {
    const std::vector<SumRow> all = rows_of(layout, tiling);
    const model::Tile& tile = tiling[tiling.first_of(layout.embedding().front().tensor)];
    const auto begin = all.begin() + static_cast<std::ptrdiff_t>(tile.first_row);
    rows.assign(begin, begin + kRows);
  }
  IntegerSums sums() const {
    return {kernels::select_kernels(), layout.flat_size(), tiling.rows(), kColumns};
  }
};

using Row = std::vector<float>;

/// What contribution i of n is in one row.
using Contribution = std::function<Row(RandomStream&, std::size_t i, std::size_t n)>;

/// Of size 2^-away / n.
Row normal_row(RandomStream& random, std::size_t n, int away) {
  static const std::vector<float> normals = [] {
    RandomStream stream(1, 1);
    std::vector<float> result(9973);
    for (float& x : result) x = static_cast<float>(stream.normal());
    return result;
  }();
  const auto first = static_cast<std::ptrdiff_t>(random.below(normals.size() - Table::kColumns));
  Row row(normals.begin() + first, normals.begin() + first + Table::kColumns);
  const auto size = static_cast<float>(std::exp2(-away) / static_cast<double>(n));
  const float sign = random.below(2) == 0 ? size : -size;
  for (float& x : row) x *= sign;
  return row;
}

/// Kinds of rows. Means of n contributions, as gradients are.
struct Kind {
  const char* name;
  Contribution contribution;
};

const std::vector<Kind>& kinds() {
  static const std::vector<Kind> all = {
      {"alike", [](RandomStream& r, std::size_t, std::size_t n) { return normal_row(r, n, 0); }},
      {"of sizes that differ by 2^20",
       [](RandomStream& r, std::size_t, std::size_t n) {
         return normal_row(r, n, static_cast<int>(r.below(5)) * 5);
       }},
      {"of one sign",
       [](RandomStream& r, std::size_t, std::size_t n) {
         Row row = normal_row(r, n, 0);
         for (float& x : row) x = std::abs(x);
         return row;
       }},
      {"one large among tails",
       [](RandomStream& r, std::size_t i, std::size_t n) {
         return normal_row(r, n, i == n / 2 ? 0 : 20);
       }},
  };
  return all;
}

/// How far sums are from those in double, relative to those: of integers and of floats, both added
/// in the order of contributions, which is random.
struct Errors {
  double integers = 0;
  double floats = 0;
};

struct Step {
  std::vector<Errors> rows;
  bool overflowed = false;
};

/// A step of n contributions to all rows, row k times 2^-away[k]. Adapts the exponents.
Step take_step(Table& table, const Contribution& contribution, std::size_t n,
               const std::vector<int>& away, std::uint64_t number) {
  IntegerSums sums = table.sums();
  ranks::SingleProcess alone;
  std::vector<int> bits(table.tiling.rows(), kNoSize);
  std::vector<std::int64_t> sizes(n);  // of the tile's contributions
  Step step;
  for (std::size_t k = 0; k < Table::kRows; ++k) {
    const SumRow& place = table.rows[k];
    const std::int32_t exponent = table.exponents[place.index];
    RandomStream random(number, k);
    std::vector<double> exact(Table::kColumns);
    Row floats(Table::kColumns);
    for (std::size_t i = 0; i < n; ++i) {
      Row row = contribution(random, i, n);
      for (float& x : row) x = std::ldexp(x, -away[k]);
      sizes[i] = std::max(sizes[i], sums.add(place, row.data(), exponent, i == 0));
      for (std::size_t c = 0; c < row.size(); ++c) {
        exact[c] += static_cast<double>(row[c]);
        floats[c] += row[c];
      }
    }
    sums.reduce({&place, 1}, std::array{SumRange{place.at, place.size}}, alone);
    bits[place.index] = bits_of_row(sums.settle(place), place.size);
    Row integers(Table::kColumns);
    sums.to_floats(place, 0, integers);
    double norm = 0, integer_error = 0, float_error = 0;
    for (std::size_t c = 0; c < exact.size(); ++c) {
      const double decoded = std::ldexp(static_cast<double>(integers[c]), -exponent);
      norm += exact[c] * exact[c];
      integer_error += std::pow(decoded - exact[c], 2);
      float_error += std::pow(static_cast<double>(floats[c]) - exact[c], 2);
    }
    step.rows.push_back({std::sqrt(integer_error / norm), std::sqrt(float_error / norm)});
  }
  step.overflowed =
      std::accumulate(sizes.begin(), sizes.end(), std::int64_t{0}) >= IntegerSums::kMostSize;
  adapt_exponents(table.tiling, bits, number == 0 ? Down::kAllTheWay : down_after(number),
                  table.exponents);
  return step;
}

/// Half a unit in the last place of a float: what a sum is off when it is written down as one.
constexpr double kFloat = 0x1p-24;

void expect_as_good_as_floats(const Step& step, const std::string& what) {
  for (std::size_t k = 0; k < step.rows.size(); ++k) {
    EXPECT_LE(step.rows[k].integers, std::max(2 * step.rows[k].floats, kFloat))
        << what << ", row " << k;
  }
}

class Contributions : public testing::TestWithParam<std::size_t> {};
INSTANTIATE_TEST_SUITE_P(Count, Contributions, testing::Values(1, 64, 4096, 65536));

// The rarest row's sum is as good as floats make it, whatever is in the others.
TEST_P(Contributions, EachRowIsWithinTwiceTheErrorOfFloats) {
  const std::size_t n = GetParam();
  for (const Kind& kind : kinds()) {
    Table table;
    // A single contribution differs from step to step: the smallest has to be learnt, and may not
    // be in a row that is the smallest as well.
    const std::uint64_t learnt = n == 1 ? 40 : 1, steps = learnt + (n > 10000 ? 1 : 10);
    const std::vector<int> away = n == 1 ? std::vector<int>{0, 1, 2, 3, 4, 4, 4, 4}
                                         : std::vector<int>{0, 1, 3, 7, 11, 15, 18, 20};
    for (std::uint64_t number = 0; number < steps; ++number) {
      const Step step = take_step(table, kind.contribution, n, away, number);
      const std::string what = fmt::format("{} {}, step {}", n, kind.name, number);
      EXPECT_FALSE(step.overflowed) << what;
      if (number >= learnt) expect_as_good_as_floats(step, what);
    }
  }
}

// Tokens that come every third batch: their rows are 2^20 times larger then.
TEST_P(Contributions, RowsThatJumpLoseNothingAndOverflowNothing) {
  const std::size_t n = GetParam();
  Table table;
  for (std::uint64_t number = 0; number < (n > 10000 ? 4 : 30); ++number) {
    const int away = number % 3 == 0 ? 0 : 20;
    const Step step =
        take_step(table, kinds()[0].contribution, n, {0, 0, 0, 0, 0, away, away, away}, number);
    EXPECT_FALSE(step.overflowed);
    if (number >= 2) expect_as_good_as_floats(step, fmt::format("{}, step {}", n, number));
  }
}

// --- No order ------------------------------------------------------------------------------------

/// The rows' bits and sizes after all contributions were added, dealt to ranks by `rank_of`, each
/// in an order of its own.
std::vector<double> summed(int ranks, int exponent, const std::vector<Row>& contributions,
                           std::uint64_t seed) {
  std::vector<double> result;
  support::ThreadRanks(ranks).run([&](ranks::ProcessGroup& process_group) {
    Table table;
    IntegerSums sums = table.sums();
    std::vector<std::size_t> order(contributions.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    RandomStream random(seed, 0);
    for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random.below(i)]);
    std::int64_t size = 0;
    std::vector<bool> touched(Table::kRows);
    sums.clear();
    sums.zero(0, table.layout.flat_size());
    for (const std::size_t i : order) {
      if (static_cast<int>(i * 7 % 5) % ranks != process_group.rank()) continue;
      const std::size_t k = i % Table::kRows;
      size += sums.add(table.rows[k], contributions[i].data(), exponent, !touched[k]);
      touched[k] = true;
    }
    const std::size_t at = table.rows.front().at;
    sums.reduce(table.rows, std::array{SumRange{at, Table::kRows * Table::kColumns}},
                process_group);
    // Once more onto itself, as compact rows are.
    sums.fold(table.rows[0], table.rows[1]);
    std::vector<std::int64_t> total = {size};
    process_group.all_reduce(std::span(total));
    if (process_group.rank() != 0) return;
    for (const SumRow& row : table.rows) {
      result.push_back(sums.settle(row));
      Row values(Table::kColumns);
      sums.to_floats(row, 0, values);
      result.insert(result.end(), values.begin(), values.end());
      result.push_back(sums.narrow(row) == nullptr ? 64 : 32);
    }
    result.push_back(static_cast<double>(total[0]));
  });
  return result;
}

TEST(IntegerSums, HaveNoOrder) {
  RandomStream random(1, 0);
  std::vector<Row> contributions;
  for (int i = 0; i < 400; ++i) {
    contributions.push_back(normal_row(random, 1, static_cast<int>(random.below(20))));
  }
  // Where no row has high words, some have, and all have.
  std::vector<double> narrow_rows;
  for (const int exponent : {20, 26, 28, 40, 50}) {
    const std::vector<double> alone = summed(1, exponent, contributions, 1);
    EXPECT_EQ(summed(1, exponent, contributions, 2), alone);
    for (const int ranks : {2, 3, 5}) {
      EXPECT_EQ(summed(ranks, exponent, contributions, 3), alone)
          << ranks << " ranks, " << exponent;
    }
    narrow_rows.push_back(static_cast<double>(std::ranges::count(alone, 32.0)));
  }
  EXPECT_EQ(narrow_rows.front(), Table::kRows);
  EXPECT_EQ(narrow_rows.back(), 0);
}

// Sums that are small again after large contributions of both signs: high words come and go.
TEST(IntegerSums, HighWordsThatCancelAreDropped) {
  RandomStream random(1, 0);
  const Row large = normal_row(random, 1, 0);
  Row opposite = large;
  for (float& x : opposite) x = -x;
  const Row small = normal_row(random, 1, 20);
  std::vector<Row> contributions;
  for (const Row& row : {large, small, opposite}) {
    contributions.insert(contributions.end(), Table::kRows, row);
  }
  const std::vector<double> alone = summed(1, 40, contributions, 1);
  EXPECT_EQ(std::ranges::count(alone, 32.0), std::ptrdiff_t{Table::kRows});
  EXPECT_EQ(summed(3, 40, contributions, 2), alone);
}

TEST(IntegerSums, MoreRanksThanTheirBoundsAddUpForAreRefused) {
  EXPECT_NO_THROW(check_ranks(65'535));
  EXPECT_THAT([] { check_ranks(65'536); }, ThrowsMessage<Error>(HasSubstr("adds up 65535 ranks")));
}

TEST(IntegerSums, ContributionsThatAreTooLargeAreSeen) {
  Table table;
  IntegerSums sums = table.sums();
  Row row(Table::kColumns, 0.0f);
  for (const float value : {0x1p20f, -0x1p20f, std::numeric_limits<float>::infinity(),
                            std::numeric_limits<float>::quiet_NaN()}) {
    row[5] = value;
    EXPECT_GE(sums.add(table.rows[0], row.data(), 40, true), IntegerSums::kMostSize) << value;
  }
  // Two halves of what is too much, which must not wrap around.
  row[5] = 0x1p19f;
  std::int64_t size = 0;
  for (int i = 0; i < 2; ++i) size += sums.add(table.rows[0], row.data(), 40, i == 0);
  EXPECT_GE(size, IntegerSums::kMostSize);
  ranks::SingleProcess alone;
  sums.reduce({&table.rows[0], 1}, std::array{SumRange{table.rows[0].at, Table::kColumns}}, alone);
  EXPECT_EQ(sums.settle(table.rows[0]), 0x1p120);
  row[5] = 0x1.fffffep18f;
  size = 0;
  for (int i = 0; i < 2; ++i) size += sums.add(table.rows[0], row.data(), 40, i == 0);
  EXPECT_LT(size, IntegerSums::kMostSize);
}

}  // namespace
}  // namespace cllm::train
