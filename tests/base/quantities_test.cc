#include "cllm/base/quantities.h"

#include <gtest/gtest.h>

namespace cllm {
namespace {

TEST(Quantities, AreWrittenForPeople) {
  EXPECT_EQ(duration_text(0.4), "0s");
  EXPECT_EQ(duration_text(250), "4m10s");
  EXPECT_EQ(duration_text(3 * 3600 + 5 * 60 + 2), "3h05m");
  EXPECT_EQ(count_text(999), "999");
  EXPECT_EQ(count_text(12045), "12,045");
  EXPECT_EQ(count_text(124439808), "124.44 M");
  EXPECT_EQ(bytes_text(17), "17 bytes");
  EXPECT_EQ(bytes_text(22600), "22.6 kB");
  EXPECT_EQ(bytes_text(1'490'000'000), "1.49 GB");
}

}  // namespace
}  // namespace cllm
