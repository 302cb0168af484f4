#include "cllm/ranks/ranks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace cllm::ranks {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(Ranks, ThoseUnlikeRank0) {
  EXPECT_THAT(unlike_rank_0({"a"}), IsEmpty());
  EXPECT_THAT(unlike_rank_0({"a", "a", "a"}), IsEmpty());
  EXPECT_THAT(unlike_rank_0({"a", "b", "a", ""}), ElementsAre(1, 3));
}

TEST(Ranks, AListIsWrittenOutUnlessItIsLong) {
  EXPECT_EQ(list_text({"a"}), "a");
  EXPECT_EQ(list_text({"a", "b"}), "a and b");
  EXPECT_EQ(list_text({"a", "b", "c", "d", "e"}), "a, b, c, d and e");
  EXPECT_EQ(list_text({"a", "b", "c", "d", "e", "f"}), "a, b, c, d and 2 more");
}

TEST(Ranks, AreNamedWithTheirHosts) {
  const std::vector<std::string> hosts = {"a", "a", "b", "b"};
  EXPECT_EQ(ranks_text({3}, hosts), "rank 3 (host b)");
  EXPECT_EQ(ranks_text({2, 3}, hosts), "ranks 2 and 3 (host b)");
  EXPECT_EQ(ranks_text({1, 2, 3}, hosts), "ranks 1, 2 and 3 (hosts a and b)");
}

}  // namespace
}  // namespace cllm::ranks
