#include "cllm/base/memory.h"

#include <gtest/gtest.h>

#include <limits>

#include "support/scratch_directory.h"

namespace cllm {
namespace {

constexpr std::uint64_t kUnlimited = std::numeric_limits<std::uint64_t>::max();

/// Files that look like those of control groups.
class ControlGroupTest : public testing::Test {
 protected:
  Memory memory(const std::string& groups) const {
    return control_group_memory(scratch_.path(), groups);
  }

  support::ScratchDirectory scratch_;
};

TEST_F(ControlGroupTest, NobodyLimits) {
  for (const char* groups : {"", "0::/\n", "4:memory:/job\n", "nonsense\n"}) {
    EXPECT_EQ(memory(groups).total, kUnlimited) << groups;
    EXPECT_EQ(memory(groups).available, kUnlimited) << groups;
  }
}

TEST_F(ControlGroupTest, TheTightestGroupOfVersion2Counts) {
  scratch_.write("job/memory.max", "5000");
  scratch_.write("job/memory.current", "4500");
  scratch_.write("job/memory.stat", "anon 3000\ninactive_file 1000\nactive_file 7");
  scratch_.write("job/step/memory.max", "max");
  scratch_.write("job/step/memory.current", "4000");
  EXPECT_EQ(memory("0::/job/step\n").total, 5000u);
  EXPECT_EQ(memory("0::/job/step\n").available, 1500u);
  scratch_.write("job/step/memory.max", "4200");
  EXPECT_EQ(memory("0::/job/step\n").total, 4200u);
  EXPECT_EQ(memory("0::/job/step\n").available, 200u);
  EXPECT_EQ(memory("0::/other\n").total, kUnlimited);
}

TEST_F(ControlGroupTest, AGroupOfVersion1) {
  scratch_.write("memory/slurm/job_7/memory.limit_in_bytes", "8000");
  scratch_.write("memory/slurm/job_7/memory.usage_in_bytes", "3000");
  scratch_.write("memory/slurm/job_7/memory.stat", "inactive_file 1\ntotal_inactive_file 500");
  scratch_.write("memory/memory.limit_in_bytes", "9223372036854771712");
  const std::string groups = "9:name=systemd:/\n4:cpuset,memory:/slurm/job_7\n0::/\n";
  EXPECT_EQ(memory(groups).total, 8000u);
  EXPECT_EQ(memory(groups).available, 5500u);
}

TEST_F(ControlGroupTest, InAContainerTheRootIsTheGroup) {
  scratch_.write("memory.max", "6000");
  scratch_.write("memory.current", "7000");  // for a moment
  EXPECT_EQ(memory("0::/docker/of-the-host\n").total, 6000u);
  EXPECT_EQ(memory("0::/docker/of-the-host\n").available, 0u);
}

TEST(Memory, OfThisProcess) {
  EXPECT_GT(available_memory(), 0u);
  EXPECT_LE(available_memory(), total_memory());
  EXPECT_LT(resident_memory(), total_memory());
}

}  // namespace
}  // namespace cllm
