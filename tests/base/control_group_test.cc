#include "cllm/base/control_group.h"

#include <gtest/gtest.h>

#include <cmath>

#include "support/scratch_directory.h"

namespace cllm {
namespace {

class QuotaTest : public testing::Test {
 protected:
  double quota(const std::string& groups) const { return processor_quota(mount_.path(), groups); }
  support::ScratchDirectory mount_;
};

TEST_F(QuotaTest, NobodyLimits) {
  EXPECT_TRUE(std::isinf(quota("")));
  EXPECT_TRUE(std::isinf(quota("0::/\n")));
  mount_.write("job/cpu.max", "max 100000\n");
  mount_.write("cpu/job/cpu.cfs_quota_us", "-1\n");
  mount_.write("cpu/job/cpu.cfs_period_us", "100000\n");
  EXPECT_TRUE(std::isinf(quota("0::/job\n4:cpu,cpuacct:/job\n")));
}

TEST_F(QuotaTest, TheTightestGroupOfVersion2Counts) {
  mount_.write("job/cpu.max", "150000 100000\n");
  mount_.write("job/step/cpu.max", "max 100000\n");
  EXPECT_EQ(quota("0::/job/step\n"), 1.5);
  mount_.write("job/step/cpu.max", "50000 100000\n");
  EXPECT_EQ(quota("0::/job/step\n"), 0.5);
}

TEST_F(QuotaTest, AGroupOfVersion1) {
  mount_.write("cpu/job/cpu.cfs_quota_us", "400000\n");
  mount_.write("cpu/job/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(quota("5:memory:/job\n4:cpu,cpuacct:/job\n"), 4);
  EXPECT_TRUE(std::isinf(quota("4:cpuset:/job\n")));
}

}  // namespace
}  // namespace cllm
