#include "cllm/ranks/watchdog.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <limits>
#include <string>
#include <vector>

namespace cllm::ranks {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

Beat at_work(const char* doing, std::uint64_t step, std::uint64_t progress) {
  Beat beat;
  beat.step = step;
  beat.progress = progress;
  std::strncpy(beat.doing.data(), doing, beat.doing.size() - 1);
  return beat;
}

Beat waiting(int bucket, std::uint64_t step, std::uint64_t progress) {
  Beat beat = at_work("a sum", step, progress);
  beat.bucket = bucket;
  beat.waits = 1;
  return beat;
}

/// One rank's watchdog, and a clock that is moved by hand.
class WatchdogTest : public testing::Test {
 protected:
  /// Looks once a second for so many seconds, up to the first fault; `before` each look.
  std::string look(
      double seconds, const std::function<void()>& before = [] {}) {
    for (double end = clock_ + seconds; clock_ < end;) {
      clock_ += 1;
      before();
      if (const auto fault = watchdog_.look(clock_, mine_, patience_)) return *fault;
      if (const auto note = watchdog_.note()) notes_.push_back(*note);
    }
    return {};
  }
  /// As another rank.
  void be(int rank) { watchdog_ = Watchdog(rank, {"a", "b", "c"}); }

  Watchdog watchdog_{0, {"a", "b", "c"}};
  double clock_ = 1e6;
  Beat mine_ = at_work("computing", 5, 10);
  Patience patience_;
  std::vector<std::string> notes_;
};

TEST_F(WatchdogTest, ASilentRankEndsTheJobInWords) {
  mine_ = waiting(2, 5, 10);
  look(20, [&] {
    watchdog_.heard(1, waiting(2, 5, 10));
    watchdog_.heard(2, at_work("computing", 5, 9));
  });
  const double began = clock_;
  const std::string fault = look(1000, [&] { watchdog_.heard(1, waiting(2, 5, 10)); });
  EXPECT_THAT(fault, AllOf(HasSubstr("rank 0 (host a), in the sum of bucket 2 at step 5"),
                           HasSubstr("nothing was heard of rank 2 (host c) for 61 s"),
                           HasSubstr("computing at step 5"), HasSubstr("--resume"),
                           Not(HasSubstr("rank 1"))));
  EXPECT_NEAR(clock_ - began, patience_.seconds, 2);
}

TEST_F(WatchdogTest, SilenceOfManyIsSaidOnce) {
  EXPECT_THAT(look(1000), HasSubstr("of rank 1 (host b) and 1 more for"));
}

TEST_F(WatchdogTest, Rank0IsWatchedByTheOthersOfWhichRank1SpeaksFirst) {
  be(1);
  double began = clock_;
  EXPECT_THAT(look(1000), HasSubstr("rank 1 (host b), computing at step 5: nothing was heard of "
                                    "rank 0 (host a)"));
  const double first = clock_ - began;
  be(2);
  began = clock_;
  EXPECT_THAT(look(1000), HasSubstr("rank 2 (host c)"));
  EXPECT_GT(clock_ - began, first + 1);
}

TEST_F(WatchdogTest, ARankThatIsAtWorkForHoursIsNoFault) {
  mine_ = waiting(-1, 0, 3);
  std::string fault = look(4 * 3600, [&] {
    watchdog_.heard(1, at_work("preparing the data", 0, 2));
    watchdog_.heard(2, waiting(-1, 0, 3));
  });
  EXPECT_EQ(fault, "");
  ASSERT_EQ(notes_.size(), 1u) << "said once";
  EXPECT_THAT(notes_[0], AllOf(HasSubstr("61 s in a sum"),
                               HasSubstr("rank 1 (host b) is preparing the data")));

  be(1);
  fault = look(4 * 3600, [&] { watchdog_.heard(0, at_work("preparing the data", 0, 2)); });
  EXPECT_EQ(fault, "");
}

TEST_F(WatchdogTest, AllWaitingWithoutProgressIsAStandstill) {
  mine_ = waiting(1, 7, 30);
  const double began = clock_;
  const std::string fault = look(10'000, [&] {
    watchdog_.heard(1, waiting(1, 7, 30));
    watchdog_.heard(2, waiting(0, 7, 28));
  });
  EXPECT_THAT(fault, AllOf(HasSubstr("rank 0 (host a), in the sum of bucket 1 at step 7"),
                           HasSubstr("rank 2 (host c) in the sum of bucket 0"),
                           HasSubstr("no data moved for 301 s")));
  EXPECT_NEAR(clock_ - began, 5 * patience_.seconds, 3);
}

TEST_F(WatchdogTest, AnExchangeThatMovesDataIsNoStandstill) {
  std::uint64_t progress = 0;
  const std::string fault = look(10'000, [&] {
    mine_ = waiting(1, 7, 30);
    watchdog_.heard(1, waiting(1, 7, 30));
    watchdog_.heard(2, waiting(1, 7, ++progress / 100));  // one message in 100 s is enough
  });
  EXPECT_EQ(fault, "");
}

TEST_F(WatchdogTest, TheDeadlineGrowsWithTheLongestStep) {
  const double kStep = 50;
  const auto all_live = [&] {
    watchdog_.heard(1, mine_);
    watchdog_.heard(2, mine_);
  };
  for (int step = 5; step < 9; ++step) {
    mine_ = at_work("computing", static_cast<std::uint64_t>(step), 10);
    look(step == 6 ? kStep : 10, all_live);
  }
  const double began = clock_;
  EXPECT_NE(look(10'000), "");
  EXPECT_NEAR(clock_ - began, patience_.steps * kStep, 3);
}

// Step 0 is what comes before the first, and may take an hour.
TEST_F(WatchdogTest, TheTimeBeforeTheFirstStepIsNoStep) {
  mine_ = at_work("preparing the data", 0, 10);
  look(3600, [&] {
    watchdog_.heard(1, mine_);
    watchdog_.heard(2, mine_);
  });
  mine_ = at_work("computing", 1, 10);
  const double began = clock_;
  EXPECT_NE(look(10'000), "");
  EXPECT_NEAR(clock_ - began, patience_.seconds, 3);
}

TEST_F(WatchdogTest, AJobThatWasSuspendedGoesOn) {
  for (int i = 0; i < 100; ++i) {
    look(10, [&] {
      watchdog_.heard(1, mine_);
      watchdog_.heard(2, mine_);
    });
    clock_ += 86'400;  // all ranks were stopped, and this one is the first to go on
    EXPECT_EQ(look(20), "");
  }
}

TEST_F(WatchdogTest, PatienceCanBeSetAndBeEndless) {
  patience_ = {.seconds = 12, .steps = 0};
  const double began = clock_;
  EXPECT_NE(look(1000), "");
  EXPECT_NEAR(clock_ - began, 12, 2);
  be(0);
  patience_ = {.seconds = std::numeric_limits<double>::infinity(), .steps = 0};
  EXPECT_EQ(look(100'000), "");
}

TEST_F(WatchdogTest, ARankThatLeftIsNotWaitedFor) {
  Beat leaves = mine_;
  leaves.leaves = 1;
  watchdog_.heard(1, leaves);
  EXPECT_FALSE(watchdog_.all_left());
  EXPECT_EQ(look(1000, [&] { watchdog_.heard(2, mine_); }), "");
  watchdog_.heard(2, leaves);
  EXPECT_TRUE(watchdog_.all_left());
  EXPECT_EQ(look(1000), "");
}

// They had waited for what the last rank did, and one of them saw its end first.
TEST_F(WatchdogTest, ARankThatLeavesFirstDoesNotEndTheJob) {
  const Beat waits = waiting(-1, 7, 30);
  mine_ = waits;
  EXPECT_EQ(look(10 * patience_.seconds,
                 [&] {
                   watchdog_.heard(1, waits);
                   watchdog_.heard(2, at_work("reading data", 7, 30));
                 }),
            "");
  Beat leaves = waits;
  leaves.waits = 0;
  leaves.leaves = 1;
  mine_ = leaves;
  watchdog_.heard(2, leaves);
  EXPECT_EQ(look(patience_.seconds - 3, [&] { watchdog_.heard(1, waits); }), "");
  EXPECT_THAT(look(10, [&] { watchdog_.heard(1, waits); }), HasSubstr("has left, and rank 1"));
}

TEST_F(WatchdogTest, ARankThatLeftWhileOthersWaitEndsTheJobInWords) {
  Beat leaves = at_work("computing", 7, 40);
  leaves.leaves = 1;
  mine_ = waiting(-1, 7, 30);
  const double began = clock_;
  const std::string fault = look(10'000, [&] {
    watchdog_.heard(1, waiting(-1, 7, 30));
    watchdog_.heard(2, leaves);
  });
  EXPECT_THAT(fault, AllOf(HasSubstr("rank 2 (host c) has left, and rank 0 (host a) has been in a "
                                     "sum at step 7 for 61 s"),
                           HasSubstr("--resume")));
  EXPECT_NEAR(clock_ - began, patience_.seconds, 3);

  // Also where it is rank 0 that left, and only looks on.
  be(0);
  mine_ = leaves;
  EXPECT_THAT(look(10'000,
                   [&] {
                     watchdog_.heard(1, waiting(-1, 7, 30));
                     watchdog_.heard(2, waiting(-1, 7, 30));
                   }),
              HasSubstr("rank 0 (host a) has left, and rank 1 (host b) has been in a sum"));

  // A rank that is still at work may leave, too.
  be(0);
  EXPECT_EQ(look(10'000,
                 [&] {
                   watchdog_.heard(1, at_work("computing", 7, 30));
                   watchdog_.heard(2, leaves);
                 }),
            "");
}

TEST(HeartbeatTest, SaysWhatTheProcessIsDoing) {
  Heartbeat& beat = heartbeat();
  EXPECT_EQ(beat.beat().text(), "starting");
  const Doing computing("computing");
  beat.begin_step(17);
  EXPECT_EQ(beat.beat().text(), "computing at step 17");
  {
    const Doing saving("saving a checkpoint");
    EXPECT_EQ(beat.beat().text(), "saving a checkpoint at step 17");
    beat.sum_of(2);
    const std::uint64_t before = beat.beat().progress;
    {
      const Exchange exchange("a sum");
      EXPECT_EQ(beat.beat().text(), "in the sum of bucket 2 at step 17");
      EXPECT_EQ(beat.beat().waits, 1);
      EXPECT_GT(beat.beat().progress, before);
    }
    beat.sum_of(-1);
    EXPECT_EQ(beat.beat().waits, 0);
  }
  EXPECT_EQ(beat.beat().text(), "computing at step 17");
}

}  // namespace
}  // namespace cllm::ranks
