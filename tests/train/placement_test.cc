#include "cllm/train/placement.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace cllm::train {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const std::vector<int> kFour = {0, 1, 2, 3};

TEST(Placement, RanksShareTheProcessorsTheyMayRunOn) {
  EXPECT_THAT(threads_of({{"a", kFour}}), ElementsAre(4));
  EXPECT_THAT(threads_of({{"a", kFour}, {"a", kFour}}), ElementsAre(2, 2));
  EXPECT_THAT(threads_of({{"a", kFour}, {"b", kFour}}), ElementsAre(4, 4));
  EXPECT_THAT(threads_of({{"a", kFour}, {"a", kFour}, {"a", kFour}}), ElementsAre(1, 1, 1));
  EXPECT_THAT(threads_of({{"a", {0, 1}}, {"a", {2, 3}}}), ElementsAre(2, 2));
  EXPECT_THAT(threads_of({{"a", {0}}, {"a", {0}}}), ElementsAre(1, 1));
  EXPECT_THAT(threads_of({{"a", kFour, 3}, {"a", kFour}}), ElementsAre(3, 2));
}

TEST(Placement, SaysWhatIsLikelyToBeSlow) {
  EXPECT_THAT(placement_warnings({{"a", kFour, 2}, {"a", kFour, 2}}), IsEmpty());
  EXPECT_THAT(placement_warnings({{"a", {0, 1}, 2}, {"a", {2, 3}, 2}}), IsEmpty());
  EXPECT_THAT(placement_warnings({{"a", {0}, 1}, {"a", {0}, 1}}),
              ElementsAre(HasSubstr("host a: 2 ranks with 2 threads in all share 1 processor;")));
  EXPECT_THAT(placement_warnings({{"a", kFour, 2}, {"b", {0}, 4}}),
              ElementsAre(HasSubstr("rank 1 has 4 threads on the one processor")));
  EXPECT_THAT(placement_warnings({{"a", kFour, 4}, {"a", kFour, 4}}),
              ElementsAre(HasSubstr("host a: 2 ranks with 8 threads")));
}

TEST(Placement, MpiSumsInOneHostWhereEveryRankHasAProcessorForIt) {
  EXPECT_EQ(allreduce_for({{"a", kFour, 3}}), Allreduce::kMpi);
  EXPECT_EQ(allreduce_for({{"a", kFour, 1}, {"a", kFour, 1}}), Allreduce::kMpi);
  EXPECT_EQ(allreduce_for({{"a", {0, 1}, 1}, {"a", {2, 3}, 1}}), Allreduce::kMpi);
}

TEST(Placement, TheRingSumsWhereARankHasNone) {
  EXPECT_EQ(allreduce_for({{"a", kFour, 4}}), Allreduce::kRing);
  EXPECT_EQ(allreduce_for({{"a", kFour, 2}, {"a", kFour, 2}}), Allreduce::kRing);
  // Three threads and two that sum, on four processors.
  EXPECT_EQ(allreduce_for({{"a", kFour, 1}, {"a", kFour, 2}}), Allreduce::kRing);
  // The host has processors left, but not where this rank may run, be it the first or the last.
  EXPECT_EQ(allreduce_for({{"a", {0, 1, 2}, 1}, {"a", {3}, 1}}), Allreduce::kRing);
  EXPECT_EQ(allreduce_for({{"a", {3}, 1}, {"a", {0, 1, 2}, 1}}), Allreduce::kRing);
}

TEST(Placement, TheRingSumsAcrossHosts) {
  EXPECT_EQ(allreduce_for({{"a", kFour, 1}, {"b", kFour, 1}}), Allreduce::kRing);
  EXPECT_EQ(allreduce_for({{"a", kFour, 1}, {"a", kFour, 1}, {"b", kFour, 1}}), Allreduce::kRing);
}

TEST(Placement, GathersSites) {
  SoloCollective solo;
  const std::vector<Site> sites = gather_sites({"here", kFour, 0}, solo);
  ASSERT_EQ(sites.size(), 1u);
  EXPECT_EQ(sites[0].host, "here");
  EXPECT_EQ(sites[0].processors, kFour);
  EXPECT_EQ(sites[0].threads, 4);
}

}  // namespace
}  // namespace cllm::train
