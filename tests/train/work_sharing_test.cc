#include "cllm/train/work_sharing.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cllm/base/error.h"

namespace cllm::train {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

TEST(Batch, SharesAreContiguousAndEven) {
  for (const std::size_t total : {0u, 1u, 5u, 12u, 100u}) {
    for (const std::size_t parts : {1u, 2u, 3u, 7u, 12u}) {
      std::size_t next = 0;
      for (std::size_t i = 0; i < parts; ++i) {
        const Share share = share_of(total, i, parts);
        EXPECT_EQ(share.first, next);
        EXPECT_GE(share.count, total / parts);
        EXPECT_LE(share.count, total / parts + 1);
        next += share.count;
      }
      EXPECT_EQ(next, total);
    }
  }
}

TEST(Batch, MicroBatchesHaveTheWholeBatch) {
  for (const std::size_t batch : {1u, 7u, 12u, 13u}) {
    for (std::size_t m = 1; m <= batch; ++m) {
      std::size_t next = 0;
      for (std::size_t micro_batch = 0; micro_batch < count_micro_batches(batch, m);
           ++micro_batch) {
        const Share sequences = sequences_of(micro_batch, batch, m);
        EXPECT_EQ(sequences.first, next);
        EXPECT_TRUE(sequences.count == m || (micro_batch + 1 == count_micro_batches(batch, m) &&
                                             sequences.count >= 1 && sequences.count < m));
        next += sequences.count;
      }
      EXPECT_EQ(next, batch);
    }
  }
}

TEST(Batch, DefaultMicroBatchHasEnoughPositions) {
  EXPECT_EQ(default_micro_batch(12, 64), 3u);
  EXPECT_EQ(default_micro_batch(16, 64), 4u);
  EXPECT_EQ(default_micro_batch(16, 128), 4u);
  EXPECT_EQ(default_micro_batch(8, 256), 2u);
  EXPECT_EQ(default_micro_batch(2, 1024), 1u);
  EXPECT_EQ(default_micro_batch(4, 64), 4u);  // too small to be shared out
  EXPECT_EQ(default_micro_batch(1, 1), 1u);
  // What has no divisor near ends in a smaller micro-batch, and the others are as even as can be.
  EXPECT_EQ(default_micro_batch(11, 32), 6u);
  EXPECT_EQ(default_micro_batch(13, 64), 3u);
  EXPECT_EQ(default_micro_batch(101, 64), 8u);
  EXPECT_EQ(default_micro_batch(11, 1024), 1u);
  for (std::size_t batch = 1; batch < 100; ++batch) {
    for (const std::size_t context : {1u, 10u, 64u, 300u, 2000u}) {
      const std::size_t m = default_micro_batch(batch, context);
      EXPECT_GE(m, 1u);
      EXPECT_LE(m, batch);
      EXPECT_TRUE(m == 1 || m * context <= 512) << batch << " x " << context;
      // No fewer micro-batches than there may be, of 192 positions: no more than half of the
      // threads idle.
      if (batch > 1 && batch * context > 2 * 288) {
        EXPECT_GT(count_micro_batches(batch, m), 1u) << batch << " x " << context;
      }
    }
  }
}

TEST(Batch, DefaultTokenBlockLetsTwoThreadsShareABatch) {
  EXPECT_EQ(default_token_block(1024, 1024), 512u);
  EXPECT_EQ(default_token_block(2048, 1024), 1024u);
  EXPECT_EQ(default_token_block(256, 256), 128u);
  EXPECT_EQ(default_token_block(768, 192), 192u);
  EXPECT_EQ(default_token_block(10, 10), 10u);
  EXPECT_EQ(default_token_block(1 << 20, 4096), 1024u);
}

TEST(Batch, TeamsAreAsManyAsEndSoonest) {
  using Sizes = std::vector<int>;
  EXPECT_EQ(plan_teams(2, 4, 2, 0), (Sizes{1, 1}));
  EXPECT_EQ(plan_teams(2, 1, 2, 0), (Sizes{2}));  // one micro-batch
  EXPECT_EQ(plan_teams(2, 3, 2, 0), (Sizes{2}));  // 3 halves instead of 2 wholes
  EXPECT_EQ(plan_teams(8, 2, 8, 0), (Sizes{4, 4}));
  EXPECT_EQ(plan_teams(4, 0, 2, 0), (Sizes{4}));  // a rank without micro-batches
  EXPECT_EQ(plan_teams(4, 8, 2, 2), (Sizes{2, 2}));
  EXPECT_EQ(plan_teams(3, 8, 2, 2), (Sizes{2, 1}));  // who is left is a team too
  EXPECT_EQ(plan_teams(8, 1, 2, 2), (Sizes{2}));     // others have nothing to do
  EXPECT_EQ(plan_teams(1, 8, 2, 4), (Sizes{1}));
}

TEST(Batch, AMicroBatchThatIsNoneIsRefused) {
  EXPECT_NO_THROW(check_micro_batch(12, 4));
  EXPECT_NO_THROW(check_micro_batch(12, 5));
  EXPECT_NO_THROW(check_micro_batch(12, 12));
  EXPECT_THAT([] { check_micro_batch(12, 13); },
              ThrowsMessage<Error>(HasSubstr("--micro-batch 13: give a number of sequences from 1 "
                                             "to those of --batch, 12")));
  EXPECT_THAT([] { check_micro_batch(12, 0); }, ThrowsMessage<Error>(HasSubstr("--micro-batch 0")));
  EXPECT_THAT([] { check_micro_batch(std::size_t{1} << 60, 1); },
              ThrowsMessage<Error>(HasSubstr("from 1 to 1000000")));
  EXPECT_THAT([] { check_micro_batch(0, 1); }, ThrowsMessage<Error>(HasSubstr("--batch 0")));
}

}  // namespace
}  // namespace cllm::train
