#include "cllm/base/stop_signals.h"

#include <gtest/gtest.h>
#include <signal.h>

namespace cllm {
namespace {

constexpr int kAll[] = {SIGUSR1, SIGUSR2, SIGTERM, SIGINT, SIGHUP};

int reached = 0;  // the handler of before

class StopSignalsTest : public testing::Test {
 protected:
  void SetUp() override {
    reached = 0;
    for (const int number : kAll) ::signal(number, [](int which) { reached = which; });
  }
  void TearDown() override {
    for (const int number : kAll) ::signal(number, SIG_DFL);
  }
};

TEST_F(StopSignalsTest, AreNotedWhileItLives) {
  for (const int number : kAll) {
    const StopSignals signals;
    EXPECT_EQ(signals.received(), 0);
    ::raise(number);
    EXPECT_EQ(signals.received(), number);
    EXPECT_EQ(reached, 0);
  }
  ::raise(SIGUSR2);
  EXPECT_EQ(reached, SIGUSR2);
}

TEST_F(StopSignalsTest, GivingUpHandsTheLastOneOn) {
  StopSignals signals;
  ::raise(SIGTERM);
  EXPECT_EQ(reached, 0);
  signals.give_up();
  EXPECT_EQ(reached, SIGTERM);
  ::raise(SIGUSR1);
  EXPECT_EQ(reached, SIGUSR1);
}

TEST_F(StopSignalsTest, InterruptingTwiceEndsAtOnce) {
  const auto interrupt_twice = [] {
    const StopSignals signals;
    ::raise(SIGTERM);
    ::raise(SIGINT);
    if (signals.received() != SIGINT) return;
    ::raise(SIGINT);
  };
  EXPECT_EXIT(interrupt_twice(), testing::KilledBySignal(SIGINT), "");
}

TEST_F(StopSignalsTest, ATerminalThatWasToBeIgnoredStillIs) {
  ::signal(SIGHUP, SIG_IGN);
  ::signal(SIGTERM, SIG_IGN);
  StopSignals signals;
  ::raise(SIGHUP);
  EXPECT_EQ(signals.received(), 0);
  ::raise(SIGTERM);
  EXPECT_EQ(signals.received(), SIGTERM);
}

}  // namespace
}  // namespace cllm
