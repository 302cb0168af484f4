#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>
#include <string>
#include <vector>

#include "cllm/base/error.h"
#include "cllm/ranks/agreement.h"
#include "support/thread_ranks.h"

namespace cllm::ranks {
namespace {

using testing::Each;
using testing::EndsWith;

/// What each rank is told of the agreement that `work` is done in.
template <typename Work>
std::vector<std::string> outcomes(int ranks, const Work& work) {
  std::vector<std::string> results(static_cast<std::size_t>(ranks));
  support::ThreadRanks(ranks).run([&](ProcessGroup& process_group) {
    std::string& mine = results[static_cast<std::size_t>(process_group.rank())];
    try {
      in_agreement(process_group, [&] { work(process_group); });
      mine = "done";
    } catch (const ReplicatedError& error) {
      mine = error.what();
    }
  });
  return results;
}

TEST(InAgreement, ARankThatFailsBeforeAnAgreementWithinLeavesNoneWaiting) {
  for (const int failing : {0, 1, 2}) {
    const auto fails_here = [&](const ProcessGroup& process_group) {
      if (process_group.rank() == failing) fail("no such file");
    };
    EXPECT_THAT(outcomes(3,
                         [&](ProcessGroup& process_group) {
                           fails_here(process_group);
                           in_agreement(process_group, [] {});
                         }),
                Each(EndsWith("no such file")));
    EXPECT_THAT(outcomes(3,
                         [&](ProcessGroup& process_group) {
                           fails_here(process_group);
                           in_agreement(process_group, [&] {
                             on_rank_0(process_group, [] { return std::string("two deep"); });
                           });
                         }),
                Each(EndsWith("no such file")));
    // The agreement within is past, or is where it fails.
    EXPECT_THAT(outcomes(3,
                         [&](ProcessGroup& process_group) {
                           on_rank_0(process_group, [] { return std::string(); });
                           fails_here(process_group);
                         }),
                Each(EndsWith("no such file")));
    EXPECT_THAT(outcomes(3,
                         [&](ProcessGroup& process_group) {
                           in_agreement(process_group, [&] { fails_here(process_group); });
                           FAIL() << "none gets here";
                         }),
                Each(EndsWith("no such file")));
  }
  EXPECT_THAT(outcomes(3,
                       [](ProcessGroup& process_group) {
                         in_agreement(process_group, [&] { in_agreement(process_group, [] {}); });
                       }),
              Each("done"));
}

TEST(InAgreement, OneRanksErrorNamesItAndItsHost) {
  const auto results = outcomes(2, [](ProcessGroup& process_group) {
    if (process_group.rank() == 1) fail("a: b  c");
  });
  EXPECT_THAT(results, Each(testing::MatchesRegex("rank 1 \\(host [^)]+\\): a: b  c")));
}

TEST(ShareRank0s, GivesItsBitsToAll) {
  support::ThreadRanks(3).run([](ProcessGroup& process_group) {
    std::vector<float> values((std::size_t{1} << 22) + 5, static_cast<float>(process_group.rank()));
    if (process_group.rank() == 0) std::iota(values.begin(), values.end(), -3.0f);
    broadcast(process_group, values);
    EXPECT_EQ(values.front(), -3.0f);
    EXPECT_EQ(values.back(), static_cast<float>(values.size() - 4));
  });
}

TEST(AllGather, GivesPartsToAll) {
  support::ThreadRanks(3).run([](ProcessGroup& process_group) {
    std::vector<float> values(6, -1);
    const std::vector<Part> parts = {{4, 2}, {1, 0}, {0, 3}};
    const Part& own = parts[static_cast<std::size_t>(process_group.rank())];
    std::fill_n(values.begin() + static_cast<std::ptrdiff_t>(own.offset), own.size,
                static_cast<float>(process_group.rank()));
    process_group.all_gather(values, parts);
    EXPECT_EQ(values, (std::vector<float>{2, 2, 2, -1, 0, 0}));
  });
}

TEST(Gather, GivesRank0WhatAllHave) {
  support::ThreadRanks(3).run([](ProcessGroup& process_group) {
    std::string all;
    process_group.gather(std::string(2, static_cast<char>('a' + process_group.rank())),
                         [&](int rank, std::string_view piece) {
                           all += std::to_string(rank) + std::string(piece);
                         });
    EXPECT_EQ(all, process_group.rank() == 0 ? "0aa1bb2cc" : "");
  });
}

}  // namespace
}  // namespace cllm::ranks
