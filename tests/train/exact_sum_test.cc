// Sums without an order: the same bits whatever the ranks, threads and teams.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <tuple>
#include <vector>

#include "support/training_bench.h"

namespace cllm::train {
namespace {

using support::kSmallModel;
using support::trained;
using support::trainer_options;

constexpr int kSteps = 6;

TrainerOptions fp32(TrainerOptions options) {
  options.reduce = Reduce::kFp32;
  return options;
}

// 13 micro-batches, which nothing divides.
TEST(ExactSum, GivesTheSameBitsForAnyRanksAndThreads) {
  const std::vector<double> alone = trained(1, trainer_options(13, 1, 1), kSteps);
  for (const auto& [ranks, threads] :
       {std::pair{1, 2}, {1, 3}, {1, 4}, {2, 1}, {2, 2}, {3, 1}, {4, 1}}) {
    EXPECT_EQ(trained(ranks, trainer_options(13, 1, threads), kSteps), alone)
        << ranks << " x " << threads;
  }
}

// Micro-batches of 3 sequences, and one of 1.
TEST(ExactSum, GivesTheSameBitsWithASmallerLastMicroBatch) {
  for (const Reduce reduce : {Reduce::kExact, Reduce::kFp32}) {
    TrainerOptions options = trainer_options(13, 3, 1);
    options.reduce = reduce;
    const std::vector<double> alone = trained(1, options, kSteps);
    options.threads = 3;
    EXPECT_EQ(trained(1, options, kSteps), alone);
    options.team = 2;
    EXPECT_EQ(trained(1, options, kSteps), alone);
    if (reduce == Reduce::kFp32) continue;
    for (const int ranks : {2, 3, 5, 6}) EXPECT_EQ(trained(ranks, options, kSteps), alone) << ranks;
  }
}

// It is the same step as with equal micro-batches: sums differ by their rounding alone.
TEST(ExactSum, ASmallerLastMicroBatchLosesNothing) {
  const std::vector<double> even = trained(1, trainer_options(12, 4, 2), kSteps);
  const std::vector<double> uneven = trained(1, trainer_options(12, 5, 2), kSteps);
  for (std::size_t step = 0; step < std::size_t{kSteps}; ++step) {
    EXPECT_NEAR(uneven[2 * step], even[2 * step], 2e-5) << step;
  }
}

TEST(ExactSum, GivesTheSameBitsForAnyTeam) {
  TrainerOptions options =
      trainer_options(6, 3, 1);  // micro-batches of 48 positions in blocks of 16
  const std::vector<double> alone = trained(1, options, kSteps);
  for (const int team : {1, 2, 3, 4}) {
    for (const int threads : {team, team + 1, 5}) {
      options.team = team;
      options.threads = threads;
      EXPECT_EQ(trained(1, options, kSteps), alone) << threads << " threads in teams of " << team;
      EXPECT_EQ(trained(2, options, kSteps), alone) << "on two ranks";
    }
  }
}

TEST(ExactSum, GivesTheSameBitsWithAFactorisedEmbedding) {
  TrainerOptions options = trainer_options(6, 3, 1);
  const std::vector<double> alone = trained(1, options, kSteps, support::kFactorisedModel);
  for (const auto& [ranks, threads, team] :
       {std::tuple{1, 2, 1}, {1, 3, 2}, {1, 4, 4}, {2, 1, 1}, {2, 2, 2}, {3, 1, 1}, {4, 1, 1}}) {
    options.threads = threads;
    options.team = team;
    EXPECT_EQ(trained(ranks, options, kSteps, support::kFactorisedModel), alone)
        << ranks << " x " << threads << ", teams of " << team;
  }
}

// A vocabulary so large that the head takes a micro-batch's rows in two passes.
class WideVocabulary : public testing::TestWithParam<std::size_t> {};
INSTANTIATE_TEST_SUITE_P(Ranks, WideVocabulary, testing::Values(0, 2));

TEST_P(WideVocabulary, GivesTheSameBitsWithSeveralPassesThroughTheHead) {
  const model::ModelConfig wide{.layers = 1,
                                .heads = 1,
                                .channels = 4,
                                .context = 16,
                                .vocabulary = 600000,
                                .embedding_rank = GetParam()};
  // Micro-batches of 5 sequences, 80 rows, and one of 3 with a pass less.
  TrainerOptions options = trainer_options(8, 5, 1);
  ASSERT_GT(model::Workspace::head_passes(wide.vocabulary, 80, 80),
            model::Workspace::head_passes(wide.vocabulary, 80, 48));
  for (const Reduce reduce : {Reduce::kExact, Reduce::kFp32}) {
    options.reduce = reduce;
    options.threads = 1;
    options.team = 1;
    const std::vector<double> alone = trained(1, options, 2, wide);
    options.threads = 3;
    EXPECT_EQ(trained(1, options, 2, wide), alone);
    options.team = 2;
    EXPECT_EQ(trained(1, options, 2, wide), alone);
  }
}

TEST(ExactSum, MoreRanksThanMicroBatchesAreIdleButDoNoHarm) {
  EXPECT_EQ(trained(4, trainer_options(2, 1, 1), kSteps),
            trained(1, trainer_options(2, 1, 1), kSteps));
}

// If float sums gave the same bits too, the tests above would test nothing.
TEST(ExactSum, FloatSumsDoDependOnTheSplit) {
  EXPECT_NE(trained(2, fp32(trainer_options(13, 1, 1)), kSteps),
            trained(1, fp32(trainer_options(13, 1, 1)), kSteps));
}

// Within a rank, floats are added in the order of micro-batches.
TEST(ExactSum, FloatSumsDoNotDependOnThreadsAndTeams) {
  const std::vector<double> alone = trained(1, fp32(trainer_options(13, 1, 1)), kSteps);
  EXPECT_EQ(trained(1, fp32(trainer_options(13, 1, 3)), kSteps), alone);
  TrainerOptions teams = fp32(trainer_options(13, 1, 4));
  teams.team = 2;
  EXPECT_EQ(trained(1, teams, kSteps), alone);
}

// Rounding to the lattice costs nothing that matters: the two ways stay as near as two orders of
// float sums do, a few times 1e-6 in a loss near 4 after some steps.
TEST(ExactSum, StaysWithTheFloatSum) {
  const std::vector<double> exact = trained(1, trainer_options(12, 1, 2), kSteps);
  const std::vector<double> floats = trained(1, fp32(trainer_options(12, 1, 2)), kSteps);
  for (std::size_t step = 0; step < std::size_t{kSteps}; ++step) {
    EXPECT_NEAR(exact[2 * step], floats[2 * step], 2e-5) << step;
  }
}

// What a single contribution adds is most often far smaller than what the largest sum needs: the
// tails of a softmax, in batches as large clusters have them.
TEST(ExactSum, LearnsAsTheFloatSumDoesFromThousandsOfContributions) {
  const model::ModelConfig config{
      .layers = 1, .heads = 1, .channels = 8, .context = 2, .vocabulary = 1000};
  const auto loss = [&](Reduce reduce) {
    TrainerOptions options = trainer_options(2048, 1, 2);
    options.schedule.learning_rate = 0.03;
    options.reduce = reduce;
    ranks::SingleProcess alone;
    // Most of the vocabulary is absent, as it is of any text.
    model::ModelConfig few = config;
    few.vocabulary = 20;
    support::TrainingBench bench(support::random_tokens(3000, 3, few), options, alone, config);
    double last = 0;
    for (int step = 0; step < 8; ++step) last = bench.trainer.step(bench.state).loss;
    return last;
  };
  const double floats = loss(Reduce::kFp32);
  EXPECT_LT(floats, std::log(1000) - 0.5);
  // Two orders of float sums end as far from each other: a few times 1e-5.
  EXPECT_NEAR(loss(Reduce::kExact), floats, 1e-3);
}

// A gradient that grows beyond its scale is found, and the step is taken again: the result is the
// same for every split, and training goes on.
TEST(ExactSum, AnOverflowIsTakenAgainOnAllRanksAlike) {
  const auto run = [](int ranks, int threads) {
    std::vector<double> result;
    support::ThreadRanks(ranks).run([&](ranks::ProcessGroup& process_group) {
      support::TrainingBench bench(support::random_tokens(2000, 3), trainer_options(13, 1, threads),
                                   process_group);
      bench.trainer.step(bench.state);
      for (std::int32_t& exponent : bench.state.scale_exponents) exponent += 40;
      const StepReport again = bench.trainer.step(bench.state);
      EXPECT_FALSE(again.overflowed.empty());
      EXPECT_TRUE(bench.trainer.step(bench.state).overflowed.empty());
      if (process_group.rank() != 0) return;
      result.assign(bench.state.parameters.span().begin(), bench.state.parameters.span().end());
      result.push_back(static_cast<double>(again.overflowed.size()));
    });
    return result;
  };
  const std::vector<double> alone = run(1, 1);
  EXPECT_EQ(run(1, 3), alone);
  EXPECT_EQ(run(3, 2), alone);
}

// How the gradient falls into buckets follows from a measurement, on which bits may not depend.
TEST(ExactSum, BucketsDontMatter) {
  const model::ModelConfig config = {
      .layers = 6, .heads = 2, .channels = 160, .context = 16, .vocabulary = 300};
  const model::Layout layout(config);
  const model::Tiling tiling(layout);
  constexpr std::size_t kLong = std::size_t{1} << 40;
  ASSERT_LT(buckets_of(layout, tiling, kLong).size(), buckets_of(layout, tiling).size());
  const auto run = [&](std::size_t worthwhile_bytes) {
    std::vector<float> result;
    support::ThreadRanks(2, worthwhile_bytes).run([&](ranks::ProcessGroup& process_group) {
      support::TrainingBench bench(support::random_tokens(2000, 3, config),
                                   trainer_options(3, 1, 1), process_group, config);
      for (int step = 0; step < 3; ++step) bench.trainer.step(bench.state);
      if (process_group.rank() != 0) return;
      result.assign(bench.state.parameters.span().begin(), bench.state.parameters.span().end());
    });
    return result;
  };
  EXPECT_EQ(run(kLong), run(0));
}

/// A model with two tensors whose tiles have rows, and the exponents of all rows.
struct Exponents {
  model::Layout layout{{.layers = 1, .heads = 1, .channels = 4, .context = 4, .vocabulary = 9}};
  model::Tiling tiling{layout};
  std::vector<std::int32_t> now = initial_exponents(tiling.rows());
  std::vector<int> bits = std::vector<int>(tiling.rows(), 25);

  /// Of the token embedding, the `row`th.
  std::size_t row(std::size_t index) const {
    return tiling[tiling.first_of(layout.embedding().front().tensor)].first_row + index;
  }
  void adapt(Down down) { adapt_exponents(tiling, bits, down, now); }
};

TEST(Scales, GoUpAtOnceAndDownSlowly) {
  Exponents exponents;
  exponents.now.assign(exponents.now.size(), 10);
  exponents.bits[exponents.row(0)] = 28;
  exponents.bits[exponents.row(1)] = 20;
  exponents.bits[exponents.row(2)] = kNoSize;
  exponents.bits[exponents.row(3)] = -3;
  exponents.adapt(Down::kByOne);
  EXPECT_EQ(exponents.now[exponents.row(0)], 9);
  EXPECT_EQ(exponents.now[exponents.row(1)], 15);
  EXPECT_EQ(exponents.now[exponents.row(2)], 25 - 18 + 24);
  // No row gets more than 24 bits more than the tensor's largest, which is of 28 - 10.
  EXPECT_EQ(exponents.now[exponents.row(3)], 25 - 18 + 24);
  exponents.now.assign(exponents.now.size(), 10);
  exponents.adapt(Down::kNotNow);
  EXPECT_EQ(exponents.now[exponents.row(0)], 10);
  EXPECT_EQ(exponents.now[exponents.row(1)], 15);
  exponents.adapt(Down::kAllTheWay);
  EXPECT_EQ(exponents.now[exponents.row(0)], 7);
  int down = 0;
  for (std::uint64_t step = 0; step < 80; ++step) down += down_after(step) == Down::kByOne ? 1 : 0;
  EXPECT_EQ(down, 10);
}

// After a spike a scale may be so small that all rounds to zero, which tells no size: the tensor's
// other rows do, or the next gradient that isn't zero.
TEST(Scales, ComeBackFromZero) {
  Exponents exponents;
  exponents.now.assign(exponents.now.size(), 44);
  exponents.bits.assign(exponents.bits.size(), kNoSize);
  for (int i = 0; i < 200; ++i) exponents.adapt(Down::kByOne);
  EXPECT_EQ(exponents.now[exponents.row(0)], 44);
}

TEST(Scales, HaveAnEnd) {
  Exponents exponents;
  const model::Tile& tile =
      exponents.tiling[exponents.tiling.first_of(exponents.layout.embedding().front().tensor)];
  exponents.now[exponents.row(8)] = -97;
  EXPECT_TRUE(lower_exponents(tile, exponents.now));
  EXPECT_EQ(exponents.now[exponents.row(0)], 24);
  EXPECT_EQ(exponents.now[exponents.row(8)], -100);
  EXPECT_EQ(std::ranges::count(exponents.now, 44),
            static_cast<std::ptrdiff_t>(exponents.now.size() - tile.rows));
  for (int i = 0; i < 10; ++i) lower_exponents(tile, exponents.now);
  EXPECT_FALSE(lower_exponents(tile, exponents.now));
}

TEST(Scales, BitsAreOfTheRootMeanSquare) {
  EXPECT_EQ(bits_of_row(0, 5), kNoSize);
  EXPECT_EQ(bits_of_row(7, 7), 1);
  EXPECT_EQ(bits_of_row(4 * 7, 7), 2);
  EXPECT_EQ(bits_of_row(1, 64), -2);
  EXPECT_EQ(bits_of_row(0x1p124, 1), 63);
}

}  // namespace
}  // namespace cllm::train
