#include "cllm/cli/run/room.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cllm/base/disk.h"
#include "support/error_of.h"
#include "support/scratch_directory.h"

namespace cllm::cli {
namespace {

using support::error_of;
using testing::AllOf;
using testing::HasSubstr;

TEST(Room, CheckpointsThatLieTogether) {
  EXPECT_EQ(most_checkpoints(100, 0, 0), 0u);  // as many as time allows
  EXPECT_EQ(most_checkpoints(100, 10, 0), 11u);
  EXPECT_EQ(most_checkpoints(100, 10, 2), 4u);
  EXPECT_EQ(most_checkpoints(100, 1000, 2), 1u);
  EXPECT_EQ(most_checkpoints(100, 0, 2), 4u);
}

TEST(Room, IsMissedBeforeItIsNeeded) {
  const support::ScratchDirectory scratch;
  const std::uint64_t free = free_bytes(scratch.path());
  EXPECT_EQ(room_warning(scratch.path(), {1000, 3}, true), "");
  EXPECT_TRUE(std::filesystem::is_empty(scratch.path()));
  EXPECT_THAT(room_warning(scratch.path(), {2 * free, 1}, false),
              AllOf(HasSubstr("--out " + scratch.path().string() + ": a checkpoint takes "),
                    HasSubstr(" are free; make room")));
  EXPECT_THAT(error_of([&] {
                room_warning(scratch.path(), {2 * free, 1}, true);
              }),
              HasSubstr(": a checkpoint takes "));
  const std::uint64_t quarter = free / 4;
  EXPECT_EQ(room_warning(scratch.path(), {quarter, 0}, true), "");
  EXPECT_THAT(room_warning(scratch.path(), {quarter, 9}, true),
              AllOf(HasSubstr(": 9 checkpoints of "), HasSubstr("give a smaller --keep")));
  EXPECT_EQ(room_warning(scratch.path(), {quarter, 9, 7}, true), "");
}

TEST(Room, BytesAsPeopleWriteThem) {
  EXPECT_EQ(bytes_text(250e3), "250 kB");
  EXPECT_EQ(bytes_text(12.34e6), "12.3 MB");
  EXPECT_EQ(bytes_text(1.481e9), "1.48 GB");
  EXPECT_EQ(bytes_text(999.9e6), "1.00 GB");
  EXPECT_EQ(bytes_text(431e12), "431000 GB");
}

}  // namespace
}  // namespace cllm::cli
