#include "cllm/collectives/schedule.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <vector>

namespace cllm::collectives {
namespace {

/// All ranks' rounds, played on sets: for each rank and part, how often each rank's addend is in
/// what it has.
class Play {
 public:
  Play(Pattern pattern, int ranks)
      : ranks_(ranks),
        counts_(static_cast<std::size_t>(ranks),
                std::vector(static_cast<std::size_t>(ranks),
                            std::vector<int>(static_cast<std::size_t>(ranks)))) {
    for (int rank = 0; rank < ranks; ++rank) {
      schedules_.emplace_back(pattern, rank, ranks);
      for (int part = 0; part < ranks; ++part) at(rank, part)[index(rank)] = 1;
    }
  }

  void play(int round, bool adds) {
    const auto before = counts_;
    for (int rank = 0; rank < ranks_; ++rank) {
      const Round mine = schedules_[index(rank)].round(round);
      const Round theirs = schedules_[index(mine.from)].round(round);
      // What one sends the other awaits, in the same order.
      ASSERT_EQ(theirs.to, rank);
      ASSERT_EQ(theirs.sent.first, mine.received.first);
      ASSERT_EQ(theirs.sent.count, mine.received.count);
      for (int i = 0; i < mine.received.count; ++i) {
        const int part = (mine.received.first + i) % ranks_;
        const std::vector<int>& sent = before[index(mine.from)][index(part)];
        std::vector<int>& here = at(rank, part);
        for (std::size_t k = 0; k < sent.size(); ++k) here[k] = (adds ? here[k] : 0) + sent[k];
      }
      received_ = std::max(received_, received_of_[index(rank)] += mine.received.count);
    }
  }

  void run() {
    received_of_.assign(index(ranks_), 0);
    const int half = schedules_[0].half();
    for (int round = 0; round < half; ++round) play(round, true);
    for (int rank = 0; rank < ranks_; ++rank) {
      EXPECT_TRUE(is_whole(rank, rank)) << "part " << rank << " of " << ranks_;
    }
    EXPECT_EQ(received_, ranks_ - 1);  // the least that is possible
    for (int round = half; round < 2 * half; ++round) play(round, false);
    for (int rank = 0; rank < ranks_; ++rank) {
      for (int part = 0; part < ranks_; ++part) EXPECT_TRUE(is_whole(rank, part));
    }
    EXPECT_EQ(received_, 2 * (ranks_ - 1));
  }

  const Schedule& schedule(int rank) const { return schedules_[index(rank)]; }

 private:
  static std::size_t index(int i) { return static_cast<std::size_t>(i); }
  std::vector<int>& at(int rank, int part) { return counts_[index(rank)][index(part)]; }
  bool is_whole(int rank, int part) { return at(rank, part) == std::vector<int>(index(ranks_), 1); }

  int ranks_;
  std::vector<Schedule> schedules_;
  std::vector<std::vector<std::vector<int>>> counts_;
  std::vector<int> received_of_;
  int received_ = 0;
};

TEST(Schedule, AddsEachRanksAddendOnceForAnyNumberOfRanks) {
  for (int ranks = 1; ranks <= 66; ++ranks) {
    Play(Pattern::kRing, ranks).run();
    Play(Pattern::kHalving, ranks).run();
  }
}

TEST(Schedule, HalvingTakesAsManyRoundsAsTheLogarithm) {
  for (int ranks = 1; ranks <= 1100; ++ranks) {
    const auto least =
        static_cast<int>(std::bit_width(std::bit_ceil(static_cast<unsigned>(ranks)))) - 1;
    EXPECT_EQ(Schedule(Pattern::kHalving, 0, ranks).half(), least) << ranks;
    EXPECT_EQ(Schedule(Pattern::kRing, 0, ranks).half(), ranks - 1);
  }
}

TEST(Schedule, KnowsWhenWhatComesBackWasSent) {
  for (const Pattern pattern : {Pattern::kRing, Pattern::kHalving}) {
    for (int ranks = 2; ranks <= 33; ++ranks) {
      const Schedule schedule(pattern, 1, ranks);
      for (int round = schedule.half(); round < 2 * schedule.half(); ++round) {
        const Parts back = schedule.round(round).received;
        const Parts sent = schedule.round(schedule.sent_in(round)).sent;
        EXPECT_EQ(back.first, sent.first);
        EXPECT_EQ(back.count, sent.count);
      }
    }
  }
}

TEST(Schedule, ARingSendsWhatItReceivedBefore) {
  const Schedule schedule(Pattern::kRing, 3, 7);
  ASSERT_TRUE(schedule.follows());
  for (int round = 1; round < 2 * schedule.half(); ++round) {
    EXPECT_EQ(schedule.round(round).sent.first, schedule.round(round - 1).received.first);
  }
}

// The judge is judged: a rank that never plays leaves holes.
TEST(Schedule, AMissingRoundWouldBeSeen) {
  EXPECT_NE(Schedule(Pattern::kHalving, 0, 6).round(0).sent.count, 0);
  EXPECT_EQ(Schedule(Pattern::kHalving, 0, 6).round(0).sent.count +
                Schedule(Pattern::kHalving, 0, 6).round(1).sent.count +
                Schedule(Pattern::kHalving, 0, 6).round(2).sent.count,
            5);
}

}  // namespace
}  // namespace cllm::collectives
