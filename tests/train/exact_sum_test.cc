// Sums without an order: the same bits whatever the ranks, threads and teams.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <tuple>
#include <vector>

#include "cllm/data/ulam_order.h"
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

// 13 units, which nothing divides.
TEST(ExactSum, GivesTheSameBitsForAnyRanksAndThreads) {
  const std::vector<double> alone = trained(1, trainer_options(13, 1, 1), kSteps);
  for (const auto& [ranks, threads] :
       {std::pair{1, 2}, {1, 3}, {1, 4}, {2, 1}, {2, 2}, {3, 1}, {4, 1}}) {
    EXPECT_EQ(trained(ranks, trainer_options(13, 1, threads), kSteps), alone)
        << ranks << " x " << threads;
  }
}

TEST(ExactSum, GivesTheSameBitsForAnyTeam) {
  TrainerOptions options = trainer_options(6, 3, 1);  // units of 48 positions in blocks of 16
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

// Where inputs are looked up, and in which order their rows' gradients are kept, changes no sum;
// not even of floats, as each row is added up in the order of units.
TEST(ExactSum, GivesTheSameBitsForAnyOrderOfRows) {
  TrainerOptions options = trainer_options(6, 3, 1);
  for (const model::ModelConfig& config : {kSmallModel, support::kReducedModel}) {
    std::vector<std::uint64_t> counts;
    for (std::uint64_t t = 0; t < config.vocabulary; ++t) counts.push_back(t * 7 % 11);
    for (const Reduce reduce : {Reduce::kExact, Reduce::kFp32}) {
      options.reduce = reduce;
      options.row_of = {};
      options.threads = 1;
      const std::vector<double> by_number = trained(1, options, kSteps, config);
      options.row_of = data::ulam_rows(counts);
      EXPECT_EQ(trained(1, options, kSteps, config), by_number);
      options.threads = 3;
      EXPECT_EQ(trained(1, options, kSteps, config), by_number);
    }
  }
}

TEST(ExactSum, GivesTheSameBitsWithAReducedTable) {
  TrainerOptions options = trainer_options(6, 3, 1);
  const std::vector<double> alone = trained(1, options, kSteps, support::kReducedModel);
  for (const auto& [ranks, threads, team] :
       {std::tuple{1, 2, 1}, {1, 3, 2}, {1, 4, 4}, {2, 1, 1}, {2, 2, 2}, {3, 1, 1}, {4, 1, 1}}) {
    options.threads = threads;
    options.team = team;
    EXPECT_EQ(trained(ranks, options, kSteps, support::kReducedModel), alone)
        << ranks << " x " << threads << ", teams of " << team;
  }
}

// A vocabulary so large that the head takes a unit's rows in two passes.
class WideVocabulary : public testing::TestWithParam<std::size_t> {};
INSTANTIATE_TEST_SUITE_P(Ranks, WideVocabulary, testing::Values(0, 2));

TEST_P(WideVocabulary, GivesTheSameBitsWithSeveralPassesThroughTheHead) {
  const model::ModelConfig wide{.layers = 1,
                                .heads = 1,
                                .channels = 4,
                                .context = 16,
                                .vocabulary = 600000,
                                .embedding_rank = GetParam()};
  TrainerOptions options = trainer_options(8, 4, 1);
  ASSERT_GT(model::Workspace::head_passes(wide, 64), 1u);
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

TEST(ExactSum, MoreRanksThanUnitsAreIdleButDoNoHarm) {
  EXPECT_EQ(trained(4, trainer_options(2, 1, 1), kSteps),
            trained(1, trainer_options(2, 1, 1), kSteps));
}

// If float sums gave the same bits too, the tests above would test nothing.
TEST(ExactSum, FloatSumsDoDependOnTheSplit) {
  EXPECT_NE(trained(2, fp32(trainer_options(13, 1, 1)), kSteps),
            trained(1, fp32(trainer_options(13, 1, 1)), kSteps));
}

// Within a rank, floats are added in the order of units.
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

// A gradient that grows beyond its scale is found, and the step is taken again: the result is the
// same for every split, and training goes on.
TEST(ExactSum, AnOverflowIsTakenAgainOnAllRanksAlike) {
  const auto run = [](int ranks, int threads) {
    std::vector<double> result;
    support::ThreadRanks(ranks).run([&](Collective& collective) {
      support::TrainingBench bench(support::random_tokens(2000, 3), trainer_options(13, 1, threads),
                                   collective);
      bench.trainer.step(bench.state);
      for (std::int32_t& exponent : bench.state.scale_exponents) exponent += 12;
      const StepReport again = bench.trainer.step(bench.state);
      EXPECT_FALSE(again.overflowed.empty());
      EXPECT_TRUE(bench.trainer.step(bench.state).overflowed.empty());
      if (collective.rank() != 0) return;
      result.assign(bench.state.parameters.span().begin(), bench.state.parameters.span().end());
      result.push_back(static_cast<double>(again.overflowed.size()));
    });
    return result;
  };
  const std::vector<double> alone = run(1, 1);
  EXPECT_EQ(run(1, 3), alone);
  EXPECT_EQ(run(3, 2), alone);
}

TEST(Scales, AContributionAtTheLimitFromEveryoneDoesNotWrap) {
  for (const std::size_t contributions : {1u, 2u, 3u, 7u, 1000u, 1000000u}) {
    const double limit = static_cast<double>(GradientScales(contributions).limit());
    EXPECT_LE(limit * static_cast<double>(contributions), 0x7fffffff);
    EXPECT_GT(limit * static_cast<double>(contributions), 0x7fff0000 - 1e6);
  }
}

TEST(Scales, GoDownAtOnceAndUpByOne) {
  const GradientScales scales(4);
  const int target = scales.target_bits();
  std::vector<std::int32_t> exponents = {10, 10, 10, 10};
  const std::vector<std::uint32_t> largest = {(1u << (target + 2)), (1u << (target - 5)), 0,
                                              (1u << (target - 1))};
  scales.adapt(largest, false, exponents);
  EXPECT_EQ(exponents, (std::vector<std::int32_t>{7, 11, 11, 10}));
  scales.adapt(largest, true, exponents);
  EXPECT_EQ(exponents[1], 15);
}

// After a spike a scale may be so small that all rounds to zero, which tells no size.
TEST(Scales, ComeBackFromZero) {
  const GradientScales scales(4);
  std::vector<std::int32_t> exponents = {-60};
  const double gradient = 1e-3;
  int steps = 0;
  std::uint32_t largest = 0;
  for (; largest < (1u << (scales.target_bits() - 2)) && steps < 200; ++steps) {
    largest = static_cast<std::uint32_t>(gradient * std::ldexp(1.0, exponents[0]));
    scales.adapt(std::vector<std::uint32_t>{largest}, false, exponents);
  }
  EXPECT_LT(steps, 100);
  for (int i = 0; i < 200; ++i) scales.adapt(std::vector<std::uint32_t>{0}, false, exponents);
  EXPECT_LE(exponents[0], 60);
}

TEST(Scales, HaveAnEnd) {
  std::vector<std::int32_t> exponents = {0, -97};
  EXPECT_TRUE(GradientScales::lower(std::vector<std::int64_t>{0, 3}, exponents));
  EXPECT_EQ(exponents, (std::vector<std::int32_t>{0, -100}));
  EXPECT_FALSE(GradientScales::lower(std::vector<std::int64_t>{0, 1}, exponents));
}

}  // namespace
}  // namespace cllm::train
