#include "cllm/collectives/part_walk.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace cllm::collectives {
namespace {

using ranks::Part;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;

std::vector<Part> parts_of(std::size_t elements, std::size_t count) {
  std::vector<Part> parts;
  for (std::size_t i = 0; i < count; ++i) parts.push_back(part_of({0, elements}, count, i));
  return parts;
}

/// The pieces of a walk: where each begins, and how long it is.
std::vector<std::pair<std::size_t, std::size_t>> pieces(const std::vector<Part>& parts,
                                                        std::size_t first, std::size_t longest) {
  PartWalk walk(parts, first, longest);
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

TEST(PartOf, TheFirstHaveOneElementMore) {
  const std::size_t begins[] = {100, 103, 106, 109}, sizes[] = {3, 3, 3, 2};
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(part_of({100, 11}, 4, i).offset, begins[i]);
    EXPECT_EQ(part_of({100, 11}, 4, i).size, sizes[i]);
  }
}

TEST(PartWalk, GoesDownwardAndRoundInPieces) {
  EXPECT_THAT(pieces(parts_of(11, 4), 1, 2),
              ElementsAre(Pair(3, 2), Pair(5, 1), Pair(0, 2), Pair(2, 1), Pair(9, 2), Pair(6, 2),
                          Pair(8, 1)));
  EXPECT_THAT(pieces(parts_of(5, 1), 0, 3), ElementsAre(Pair(0, 3), Pair(3, 2)));
  EXPECT_THAT(pieces(parts_of(5, 1), 1, 9), ElementsAre(Pair(0, 5)));
}

TEST(PartWalk, SkipsEmptyParts) {
  EXPECT_THAT(pieces(parts_of(2, 4), 3, 5), ElementsAre(Pair(1, 1), Pair(0, 1)));
  EXPECT_THAT(pieces(parts_of(2, 4), 0, 5), ElementsAre(Pair(0, 1), Pair(1, 1)));
  EXPECT_THAT(pieces(parts_of(0, 4), 2, 5), IsEmpty());
}

TEST(PartWalk, TakesPartsWhereverTheyLie) {
  EXPECT_THAT(pieces({{7, 2}, {0, 0}, {1, 3}}, 0, 2),
              ElementsAre(Pair(7, 2), Pair(1, 2), Pair(3, 1)));
}

TEST(PartWalk, WithoutPartsIsAtItsEnd) { EXPECT_TRUE(PartWalk().at_end()); }

}  // namespace
}  // namespace cllm::collectives
