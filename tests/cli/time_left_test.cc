#include "cllm/cli/run/time_left.h"

#include <gtest/gtest.h>

#include <cmath>

namespace cllm::cli {
namespace {

TEST(TimeLeft, ReadsWhatSqueueWrites) {
  EXPECT_EQ(parse_slurm_time("0:45"), 45);
  EXPECT_EQ(parse_slurm_time("12:00"), 720);
  EXPECT_EQ(parse_slurm_time("3:50:01"), 3 * 3600 + 50 * 60 + 1);
  EXPECT_EQ(parse_slurm_time("1-02:03:04"), 86400 + 2 * 3600 + 3 * 60 + 4);
}

TEST(TimeLeft, AnythingElseIsNoLimit) {
  for (const char* text :
       {"", "UNLIMITED", "NOT_SET", "INVALID", "1-", "-1:00", "1:x", ":", "1-UNLIMITED"}) {
    EXPECT_TRUE(std::isinf(parse_slurm_time(text))) << text;
  }
}

}  // namespace
}  // namespace cllm::cli
