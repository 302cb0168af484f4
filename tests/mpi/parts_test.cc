#include "cllm/mpi/parts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace cllm::mpi {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;

/// The pieces of a walk: where each begins, and how long it is.
std::vector<std::pair<std::size_t, std::size_t>> pieces(PartWalk walk) {
  std::vector<std::pair<std::size_t, std::size_t>> all;
  std::size_t walked = 0;
  for (; !walk.at_end(); walk.advance()) {
    EXPECT_EQ(walk.walked(), walked);
    all.emplace_back(walk.begin(), walk.size());
    walked += walk.size();
  }
  EXPECT_EQ(walk.walked(), walked);
  return all;
}

TEST(Parts, TheFirstHaveOneElementMore) {
  const Parts parts{11, 4};
  EXPECT_EQ(parts.begin(0), 0u);
  EXPECT_EQ(parts.begin(1), 3u);
  EXPECT_EQ(parts.begin(2), 6u);
  EXPECT_EQ(parts.begin(3), 9u);
  EXPECT_EQ(parts.begin(4), 11u);
  EXPECT_EQ(parts.size(2), 3u);
  EXPECT_EQ(parts.size(3), 2u);
}

TEST(PartWalk, GoesDownwardAndRoundInPieces) {
  EXPECT_THAT(pieces({{11, 4}, 1, 2}), ElementsAre(Pair(3, 2), Pair(5, 1), Pair(0, 2), Pair(2, 1),
                                                   Pair(9, 2), Pair(6, 2), Pair(8, 1)));
  EXPECT_THAT(pieces({{5, 1}, 0, 3}), ElementsAre(Pair(0, 3), Pair(3, 2)));
  EXPECT_THAT(pieces({{5, 1}, 1, 9}), ElementsAre(Pair(0, 5)));
}

TEST(PartWalk, SkipsEmptyParts) {
  EXPECT_THAT(pieces({{2, 4}, 3, 5}), ElementsAre(Pair(1, 1), Pair(0, 1)));
  EXPECT_THAT(pieces({{2, 4}, 0, 5}), ElementsAre(Pair(0, 1), Pair(1, 1)));
  EXPECT_THAT(pieces({{0, 4}, 2, 5}), IsEmpty());
}

}  // namespace
}  // namespace cllm::mpi
