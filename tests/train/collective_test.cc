#include "cllm/train/collective.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>
#include <string>
#include <vector>

#include "cllm/base/error.h"
#include "support/thread_ranks.h"

namespace cllm::train {
namespace {

using testing::Each;
using testing::EndsWith;

/// What each rank is told of the agreement that `work` is done in.
template <typename Work>
std::vector<std::string> outcomes(int ranks, const Work& work) {
  std::vector<std::string> results(static_cast<std::size_t>(ranks));
  support::ThreadRanks(ranks).run([&](Collective& collective) {
    std::string& mine = results[static_cast<std::size_t>(collective.rank())];
    try {
      in_agreement(collective, [&] { work(collective); });
      mine = "done";
    } catch (const ReplicatedError& error) {
      mine = error.what();
    }
  });
  return results;
}

TEST(InAgreement, ARankThatFailsBeforeAnAgreementWithinLeavesNoneWaiting) {
  for (const int failing : {0, 1, 2}) {
    const auto fails_here = [&](const Collective& collective) {
      if (collective.rank() == failing) fail("no such file");
    };
    EXPECT_THAT(outcomes(3,
                         [&](Collective& collective) {
                           fails_here(collective);
                           in_agreement(collective, [] {});
                         }),
                Each(EndsWith("no such file")));
    EXPECT_THAT(outcomes(3,
                         [&](Collective& collective) {
                           fails_here(collective);
                           in_agreement(collective, [&] {
                             on_rank_0(collective, [] { return std::string("two deep"); });
                           });
                         }),
                Each(EndsWith("no such file")));
    // The agreement within is past, or is where it fails.
    EXPECT_THAT(outcomes(3,
                         [&](Collective& collective) {
                           on_rank_0(collective, [] { return std::string(); });
                           fails_here(collective);
                         }),
                Each(EndsWith("no such file")));
    EXPECT_THAT(outcomes(3,
                         [&](Collective& collective) {
                           in_agreement(collective, [&] { fails_here(collective); });
                           FAIL() << "none gets here";
                         }),
                Each(EndsWith("no such file")));
  }
  EXPECT_THAT(outcomes(3,
                       [](Collective& collective) {
                         in_agreement(collective, [&] { in_agreement(collective, [] {}); });
                       }),
              Each("done"));
}

TEST(InAgreement, OneRanksErrorNamesItAndItsHost) {
  const auto results = outcomes(2, [](Collective& collective) {
    if (collective.rank() == 1) fail("a: b  c");
  });
  EXPECT_THAT(results, Each(testing::MatchesRegex("rank 1 \\(host [^)]+\\): a: b  c")));
}

TEST(ShareRank0s, GivesItsBitsToAll) {
  support::ThreadRanks(3).run([](Collective& collective) {
    std::vector<float> values((std::size_t{1} << 22) + 5, static_cast<float>(collective.rank()));
    if (collective.rank() == 0) std::iota(values.begin(), values.end(), -3.0f);
    share_rank_0s(collective, values);
    EXPECT_EQ(values.front(), -3.0f);
    EXPECT_EQ(values.back(), static_cast<float>(values.size() - 4));
  });
}

TEST(Gather, GivesRank0WhatAllHave) {
  support::ThreadRanks(3).run([](Collective& collective) {
    std::string all;
    collective.gather(std::string(2, static_cast<char>('a' + collective.rank())),
                      [&](int rank, std::string_view piece) {
                        all += std::to_string(rank) + std::string(piece);
                      });
    EXPECT_EQ(all, collective.rank() == 0 ? "0aa1bb2cc" : "");
  });
}

}  // namespace
}  // namespace cllm::train
