#include "cllm/plan/step_time.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "a_model.h"
#include "cllm/model/flops.h"
#include "cllm/model/gradient.h"
#include "cllm/train/gradient_accumulator.h"

namespace cllm::plan {
namespace {

using collectives::Collective;
using collectives::Pattern;
using collectives::SimulatedSums;

/// A step of two sequences for each rank, one thread each.
class StepTimeTest : public testing::Test {
 protected:
  StepTime step(std::size_t hosts, std::optional<Pattern> forced = {}) {
    SimulatedSums sums(hosts, 1, figures_.costs);
    const Ways ways = ways_of(sums, forced);
    return step_time(layout_, options(hosts), figures_, Frequencies::kUniform, ways,
                     waves_of(layout_, options_.optimizer, ways, Gather::kExact, sums), sums);
  }
  Ways ways_of(const SimulatedSums& sums, std::optional<Pattern> forced = {}) const {
    return {.choice = collectives::choose(sums.cluster(), figures_.costs),
            .forced = forced,
            .reduce = options_.reduce};
  }
  train::TrainerOptions options(std::size_t hosts) const {
    train::TrainerOptions options = options_;
    options.batch = 2 * hosts;
    return options;
  }
  double flops() const {
    return 2 * static_cast<double>(layout_.config().context) *
           model::training_flops_per_token(layout_);
  }

  StepTimeTest() {
    options_.micro_batch = 1;
    options_.token_block = 64;
    options_.threads = figures_.cores = 1;
  }

  model::Layout layout_ = a_model("small", 4096);
  train::TrainerOptions options_ = some_options();
  Figures figures_ = some_figures();
};

TEST_F(StepTimeTest, OneRankComputesAndUpdates) {
  const StepTime time = step(1);
  EXPECT_NEAR(time.compute, flops() / figures_.core_flops, 1e-9);
  EXPECT_NEAR(time.update, 32.0 * static_cast<double>(layout_.trained_size()) / 200e9, 1e-12);
  EXPECT_EQ(time.communication(), 0);
  EXPECT_EQ(time.hidden, 0);
  EXPECT_EQ(time.bytes, 0);
  EXPECT_DOUBLE_EQ(time.seconds(), time.compute + time.update);
}

TEST_F(StepTimeTest, ComputesAgainWhatIsNotKept) {
  const double kept = step(1).compute;
  options_.recompute = layout_.config().layers;
  EXPECT_GT(step(1).compute, kept);
  EXPECT_LT(step(1).compute, 1.2 * kept);  // a fifth of a layer
}

TEST_F(StepTimeTest, BucketsAreThoseOfATrainer) {
  const StepTime time = step(8);
  SimulatedSums sums(8, 1, figures_.costs);
  const auto buckets =
      train::buckets_of(layout_, model::Tiling(layout_), ways_of(sums).choice.worthwhile_bytes);
  ASSERT_EQ(time.buckets.size(), buckets.size());
  for (std::size_t b = 0; b + 1 < buckets.size(); ++b) {
    EXPECT_DOUBLE_EQ(time.buckets[b].bytes, 4.0 * static_cast<double>(buckets[b].size));
  }
  const double rows =
      expected_token_rows(layout_, 16 * layout_.config().context, Frequencies::kUniform).elements;
  EXPECT_DOUBLE_EQ(time.buckets.back().bytes,
                   4 * (static_cast<double>(buckets.back().size) + rows));
}

// Each begins when it is complete and the one before is summed; none is complete before the head,
// and the last is when backward ends.
TEST_F(StepTimeTest, BucketsGoInOrderBehindBackward) {
  const StepTime time = step(4, Pattern::kRing);
  ASSERT_GE(time.buckets.size(), 3u);
  double end = 0, ready = 0;
  for (const BucketTime& bucket : time.buckets) {
    EXPECT_GE(bucket.ready, ready);  // embeddings take no time of their own
    EXPECT_EQ(bucket.begin, std::max(bucket.ready, end));
    EXPECT_GT(bucket.end, bucket.begin);
    end = bucket.end;
    ready = bucket.ready;
  }
  EXPECT_GT(time.buckets.front().ready, time.compute / 2);  // of the second of two micro-batches
  EXPECT_DOUBLE_EQ(ready, time.compute);
  EXPECT_DOUBLE_EQ(time.exposed, end - time.compute);
}

// The head's share of the operations, and that of layers, by hand.
TEST_F(StepTimeTest, GroupsAreCompleteWhenTheirOperationsAreDone) {
  options_.micro_batch = 2;
  const StepTime time = step(2, Pattern::kRing);
  ASSERT_EQ(time.buckets.size(), layout_.groups().size());
  const double all = model::training_flops_per_token(layout_);
  const double head =
      6.0 * static_cast<double>(layout_.config().vocabulary * layout_.config().channels);
  const double layer = (all - head) / static_cast<double>(layout_.config().layers);
  const double forward = (all - head) / 3;
  EXPECT_NEAR(time.buckets[0].ready, time.compute * (forward + head) / all, 1e-9);
  EXPECT_NEAR(time.buckets[1].ready, time.compute * (forward + head + layer * 2 / 3) / all, 1e-9);
}

TEST_F(StepTimeTest, ABucketTakesItsBoundsAndItsIntegers) {
  const StepTime time = step(2, Pattern::kRing);
  SimulatedSums sums(2, 1, figures_.costs);
  const auto buckets = train::buckets_of(layout_, model::Tiling(layout_));
  const auto seconds = [&](std::size_t elements) {
    return sums.even(Collective::kAllReduce, 4 * elements, Pattern::kRing).seconds;
  };
  EXPECT_NEAR(time.buckets[0].end - time.buckets[0].begin,
              seconds(buckets[0].size) + seconds(buckets[0].end_row - buckets[0].first_row), 1e-12);
  options_.reduce = train::Reduce::kFp32;
  const StepTime floats = step(2, Pattern::kRing);
  EXPECT_NEAR(floats.buckets[0].end - floats.buckets[0].begin, seconds(buckets[0].size), 1e-12);
}

TEST_F(StepTimeTest, SumsTakeProcessorsFromComputation) {
  figures_.stolen_per_byte = 0;
  const StepTime free = step(2);
  EXPECT_NEAR(free.compute, flops() / figures_.core_flops, 1e-9);
  figures_.stolen_per_byte = 1e-9;
  const StepTime stolen = step(2);
  double bytes = 0;
  for (const BucketTime& bucket : stolen.buckets) bytes += bucket.bytes;
  EXPECT_NEAR(stolen.compute - free.compute, 1e-9 * bytes, 0.01 * 1e-9 * bytes);  // N=2: all once
  figures_.stolen_per_byte = {};
  EXPECT_GT(step(2).compute, free.compute);
}

TEST_F(StepTimeTest, MuonsOwnersSendTheirUpdates) {
  const StepTime adamw = step(4);
  options_ = some_options("muon");
  options_.micro_batch = 1;
  options_.token_block = 64;
  options_.threads = 1;
  const StepTime muon = step(4);
  EXPECT_GT(muon.update, adamw.update);
  EXPECT_GT(muon.bytes, adamw.bytes);
  EXPECT_LT(muon.update, step(1).update);  // its products are shared
  EXPECT_EQ(step(1).gathering, 0);
  EXPECT_EQ(adamw.gathering, 0);
  figures_.costs.network.per_byte *= 100;
  EXPECT_GT(step(4).gathering, muon.gathering);
}

// Of a step that waits for nothing, what is divided by the ranks is the update.
TEST_F(StepTimeTest, ShardsDivideTheUpdate) {
  options_.shard = true;
  const StepTime alone = step(1), four = step(4);
  EXPECT_NEAR(four.update, alone.update / 4, 1e-12);
  options_.optimizer.name = "muon";
  EXPECT_LT(step(4).update, step(1).update / 2);
  EXPECT_GE(step(4).update, step(1).update / 4);
}

// Half a sum of each bucket goes behind backward, the other half behind the next forward: both
// together send about what a sum does, and what forward has to wait for is told.
TEST_F(StepTimeTest, ShardsSendHalvesOfSums) {
  const StepTime whole = step(4);
  options_.shard = true;
  const StepTime halves = step(4);
  EXPECT_NEAR(halves.bytes, whole.bytes, 0.1 * whole.bytes);
  EXPECT_LT(halves.buckets.back().end - halves.buckets.back().begin,
            whole.buckets.back().end - whole.buckets.back().begin);
  EXPECT_GT(halves.gathering, 0);  // the table, which forward begins with
  figures_.costs.network = {.latency = 0, .per_byte = 0};
  figures_.costs.per_message = figures_.costs.per_copied_byte = 0;
  EXPECT_LT(step(4).gathering, halves.gathering);
}

}  // namespace
}  // namespace cllm::plan
