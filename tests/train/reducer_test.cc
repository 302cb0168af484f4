#include "cllm/train/reducer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "cllm/base/denormals.h"
#include "cllm/base/error.h"
#include "support/training_bench.h"

namespace cllm::train {
namespace {

using support::kSmallModel;

TEST(Buckets, AreWholeGroupsInOrder) {
  const model::Layout layout(
      {.layers = 5, .heads = 2, .channels = 256, .context = 16, .vocabulary = 5000});
  const model::Tiling tiling(layout);
  const std::vector<Bucket> buckets = buckets_of(layout, tiling);
  EXPECT_GT(buckets.size(), 3u);
  std::size_t group = 0, offset = 0, row = 0;
  for (const Bucket& bucket : buckets) {
    EXPECT_EQ(bucket.first_group, group);
    EXPECT_EQ(bucket.offset, offset);
    group = bucket.end_group;
    EXPECT_EQ(bucket.first_row, row);
    offset += bucket.size;
    row = bucket.end_row;
  }
  EXPECT_EQ(row, tiling.rows());
  EXPECT_EQ(group, layout.groups().size());
  EXPECT_EQ(offset, layout.flat_size());
}

TEST(Buckets, AreFewerWhereLatencyIsLongButStillSeveral) {
  const model::Layout layout(
      {.layers = 20, .heads = 2, .channels = 256, .context = 16, .vocabulary = 5000});
  const model::Tiling tiling(layout);
  const std::size_t usual = buckets_of(layout, tiling).size();
  const std::vector<Bucket> some = buckets_of(layout, tiling, std::size_t{8} << 20);
  const std::vector<Bucket> few = buckets_of(layout, tiling, std::size_t{1} << 40);
  EXPECT_EQ(buckets_of(layout, tiling, 1000).size(), usual);
  EXPECT_LT(some.size(), usual);
  EXPECT_LT(few.size(), some.size());
  EXPECT_GE(few.size(), 3u);  // whole groups, of a quarter of all and more
  for (const auto& buckets : {some, few}) {
    EXPECT_EQ(buckets.front().offset, 0u);
    EXPECT_EQ(buckets.back().offset + buckets.back().size, layout.flat_size());
  }
}

/// Two ranks of which this process is one; remembers what it was asked to sum.
class Watched final : public ranks::ProcessGroup {
 public:
  int rank() const override { return 0; }
  int size() const override { return 2; }
  void use(ranks::Allreduce) override {}
  void all_reduce(std::span<float>) override {}
  void all_reduce(std::span<std::int32_t> values) override {
    if (fails) fail("the network is gone");
    summed.push_back(values.size());
    threads.push_back(std::this_thread::get_id());
    flushes = flushes_denormals();
  }
  void all_reduce(std::span<std::int64_t>) override {}
  std::string broadcast(std::string bytes) override { return bytes; }
  std::vector<std::string> all_gather(const std::string& bytes) override { return {bytes, bytes}; }
  void all_gather(std::span<float>, std::span<const ranks::Part>) override {}

  bool fails = false;
  bool flushes = false;  ///< denormals
  std::vector<std::size_t> summed;
  std::vector<std::thread::id> threads;
};

/// Gives all that a micro-batch of zeros gives to the sums.
void give_micro_batch(const model::Model& model, GradientAccumulator& sums) {
  Recorder recorder;
  const std::vector<float> zeros(model.tiling().largest());
  GradientAccumulator::MicroBatchSink sink(sums, 0);
  for (std::size_t tile = model.tiling().tiles().size(); tile-- > 0;) {
    sink.add(tile, 0, zeros.data(), model.tiling()[tile].columns, recorder);
  }
  for (std::size_t range = 0; range < model::kTokenRanges; ++range) {
    sink.begin_tokens(range, recorder);
    sink.end_tokens(range);
  }
}

struct Parts {
  model::Model model{{.layers = 3, .heads = 2, .channels = 256, .context = 16, .vocabulary = 2000},
                     kernels::select_kernels()};
  Ownership ownership{model.layout()};
  std::vector<Bucket> buckets = buckets_of(model.layout(), model.tiling());
  GradientAccumulator sums{
      model,
      kernels::select_kernels(),
      Reduce::kExact,
      {.local_micro_batches = 1, .head_passes = 1, .last_head_passes = 1, .batch_tokens = 16},
      buckets,
      ownership};
  ParameterExchange exchange(ranks::ProcessGroup& process_group) const {
    return ParameterExchange(model.layout(), buckets, ownership, process_group);
  }
  std::vector<std::int32_t> exponents = initial_exponents(model.tiling().rows());
  std::vector<std::int32_t> tokens = std::vector<std::int32_t>(2000);
};

TEST(Reducer, SumsEveryBucketOnAThreadOfItsOwn) {
  Parts parts;
  Watched process_group;
  ParameterExchange exchange = parts.exchange(process_group);
  Reducer reducer(parts.sums, exchange, process_group, 0);
  for (int step = 0; step < 3; ++step) {
    process_group.summed.clear();
    parts.sums.begin(parts.tokens, parts.exponents);
    reducer.start();
    give_micro_batch(parts.model, parts.sums);
    reducer.wait();
    std::vector<std::size_t> sizes;
    for (const Bucket& bucket : parts.sums.buckets()) {
      sizes.push_back(bucket.end_row - bucket.first_row);  // their bounds
      sizes.push_back(bucket.size);
    }
    EXPECT_EQ(process_group.summed, sizes);
  }
  EXPECT_THAT(process_group.threads, testing::Each(testing::Ne(std::this_thread::get_id())));
}

#ifdef __SSE2__
TEST(Reducer, SumsAsItsMakerDoesWithDenormals) {
  for (const bool flushing : {false, true}) {
    std::thread([&] {
      if (flushing) flush_denormals();
      Parts parts;
      Watched process_group;
      ParameterExchange exchange = parts.exchange(process_group);
      Reducer reducer(parts.sums, exchange, process_group, 0);
      parts.sums.begin(parts.tokens, parts.exponents);
      reducer.start();
      give_micro_batch(parts.model, parts.sums);
      reducer.wait();
      EXPECT_EQ(process_group.flushes, flushing);
    }).join();
  }
}
#endif

TEST(Reducer, DoesNotSumABucketThatIsNotComplete) {
  Parts parts;
  Watched process_group;
  ParameterExchange exchange = parts.exchange(process_group);
  Reducer reducer(parts.sums, exchange, process_group, 0);
  parts.sums.begin(parts.tokens, parts.exponents);
  reducer.start();
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_TRUE(process_group.summed.empty());
  give_micro_batch(parts.model, parts.sums);
  reducer.wait();
  EXPECT_FALSE(process_group.summed.empty());
}

TEST(Reducer, AFailureOfTheNetworkReachesWhoeverWaits) {
  Parts parts;
  Watched process_group;
  process_group.fails = true;
  ParameterExchange exchange = parts.exchange(process_group);
  Reducer reducer(parts.sums, exchange, process_group, 0);
  parts.sums.begin(parts.tokens, parts.exponents);
  reducer.start();
  give_micro_batch(parts.model, parts.sums);
  EXPECT_THAT([&] { reducer.wait(); },
              testing::ThrowsMessage<Error>(testing::HasSubstr("the network is gone")));
}

}  // namespace
}  // namespace cllm::train
