#include "cllm/base/interrupt.h"

#include <gtest/gtest.h>
#include <signal.h>

namespace cllm {
namespace {

int reached = 0;  // the handler of before

class InterruptTest : public testing::Test {
 protected:
  void SetUp() override {
    reached = 0;
    ::signal(SIGINT, [](int) { ++reached; });
  }
  void TearDown() override { ::signal(SIGINT, SIG_DFL); }
};

TEST_F(InterruptTest, IsNotedWhileItLives) {
  {
    Interrupt interrupt;
    EXPECT_FALSE(interrupt.came());
    for (int i = 0; i < 3; ++i) {
      ::raise(SIGINT);
      EXPECT_TRUE(interrupt.came());
      interrupt.clear();
      EXPECT_FALSE(interrupt.came());
    }
    ::raise(SIGINT);
  }
  EXPECT_EQ(reached, 0);
  ::raise(SIGINT);
  EXPECT_EQ(reached, 1);
  EXPECT_FALSE(Interrupt().came());
}

TEST_F(InterruptTest, WhereItWasIgnoredItStillIs) {
  ::signal(SIGINT, SIG_IGN);
  const Interrupt interrupt;
  ::raise(SIGINT);
  EXPECT_FALSE(interrupt.came());
}

}  // namespace
}  // namespace cllm
