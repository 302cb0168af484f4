#include "cllm/base/processors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "support/scratch_directory.h"

namespace cllm {
namespace {

using testing::ElementsAre;

TEST(Processors, AThreadRunsWhereItIsTold) {
  const std::vector<int> all = available_processors();
  std::thread([&] {
    ASSERT_TRUE(run_on(std::vector<int>{all.back()}));
    EXPECT_THAT(available_processors(), ElementsAre(all.back()));
    // The host still has more for it.
    EXPECT_TRUE(std::ranges::includes(permitted_processors(), all));
    EXPECT_THAT(available_processors(), ElementsAre(all.back()));
    EXPECT_FALSE(run_on({}));
  }).join();
  EXPECT_EQ(available_processors(), all);
}

TEST(Processors, ThoseOfACoreAndOfASocketStandTogether) {
  support::ScratchDirectory system;
  // Two sockets of two cores with two threads, numbered as Linux does it on many hosts.
  for (int i = 0; i < 8; ++i) {
    const std::string topology = "cpu" + std::to_string(i) + "/topology/";
    system.write(topology + "physical_package_id", std::to_string(i % 2) + "\n");
    system.write(topology + "thread_siblings_list",
                 std::to_string(i % 4) + "," + std::to_string(i % 4 + 4) + "\n");
  }
  EXPECT_THAT(
      cores_of(std::vector<int>{0, 1, 2, 3, 4, 5, 6, 7}, system.path()),
      ElementsAre(ElementsAre(0, 4), ElementsAre(2, 6), ElementsAre(1, 5), ElementsAre(3, 7)));
  EXPECT_THAT(cores_of(std::vector<int>{1, 4, 5}, system.path()),
              ElementsAre(ElementsAre(4), ElementsAre(1, 5)));
  // Where nothing is known, each is a core.
  EXPECT_THAT(cores_of(std::vector<int>{8, 9}, system.path()),
              ElementsAre(ElementsAre(8), ElementsAre(9)));
}

}  // namespace
}  // namespace cllm
