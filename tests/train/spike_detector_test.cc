#include "cllm/train/spike_detector.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "cllm/base/error.h"
#include "support/thread_ranks.h"
#include "support/training_bench.h"

namespace cllm::train {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

TEST(SpikeDetector, ASpikeIsFarAboveTheMedian) {
  const SpikeDetector detector(10);
  std::vector<double> recent;
  for (std::size_t i = 0; i + 1 < SpikeDetector::kFewest; ++i) SpikeDetector::remember(1.0, recent);
  EXPECT_EQ(detector.judge(2, 1000, recent), Health::kUsual) << "too little is known";
  SpikeDetector::remember(100.0, recent);  // one spike doesn't move the median
  EXPECT_EQ(detector.judge(2, 9.9, recent), Health::kUsual);
  EXPECT_EQ(detector.judge(2, 10.1, recent), Health::kSpike);
  EXPECT_EQ(SpikeDetector(0).judge(2, 1e30, recent), Health::kUsual);
}

TEST(SpikeDetector, WhatIsNotFiniteNeedsNoHistory) {
  for (const double bad : {kInfinity, -kInfinity, kNan}) {
    EXPECT_EQ(SpikeDetector(10).judge(bad, 1, {}), Health::kNotFinite);
    EXPECT_EQ(SpikeDetector(0).judge(2, bad, {}), Health::kNotFinite);
  }
}

TEST(SpikeDetector, LargeNormsThatStayBecomeUsual) {
  const SpikeDetector detector(10);
  std::vector<double> recent;
  for (std::size_t i = 0; i < 2 * SpikeDetector::kMemory; ++i) SpikeDetector::remember(1.0, recent);
  EXPECT_EQ(recent.size(), SpikeDetector::kMemory);
  std::size_t spikes = 0;
  while (detector.judge(2, 50, recent) == Health::kSpike && spikes < 1000) {
    SpikeDetector::remember(50, recent);
    ++spikes;
  }
  EXPECT_EQ(spikes, SpikeDetector::kMemory / 2);
}

TEST(SpikeDetector, RefusesAFactorThatMakesNoSense) {
  for (const double bad : {1.0, 0.5, -1.0, kInfinity, kNan})
    EXPECT_THROW(SpikeDetector{bad}, Error);
}

/// Trains until there is a history, and then with a final gain that makes gradients too large.
class SpikeTest : public testing::Test {
 protected:
  struct Run {
    Run(OnSpike on_spike, Reduce reduce, ranks::ProcessGroup& process_group)
        : bench(support::random_tokens(2000, 3), options(on_spike, reduce), process_group) {
      for (std::size_t i = 0; i < SpikeDetector::kFewest; ++i) bench.trainer.step(bench.state);
    }

    static TrainerOptions options(OnSpike on_spike, Reduce reduce) {
      TrainerOptions options = support::trainer_options(6, 1, 2);
      options.on_spike = on_spike;
      options.reduce = reduce;
      options.schedule = {.decay = Decay::kConstant, .learning_rate = 1e-3, .steps = 1000};
      return options;
    }

    /// Sets the final gain to `gain` times what it is.
    void scale_gain(float gain) {
      const model::Layout& layout = bench.model.layout();
      const model::Tensor& tensor = layout[*layout.ln_f().gain];
      for (std::size_t i = 0; i < tensor.size(); ++i) {
        bench.state.parameters[tensor.offset + i] *= gain;
      }
    }
    std::vector<float> parameters() const {
      const auto all = bench.state.parameters.span();
      return {all.begin(), all.end()};
    }

    support::TrainingBench bench;
  };

  ranks::SingleProcess alone_;
};

constexpr float kTooLarge = 300;  // times the final gain, and about that times the gradient

TEST_F(SpikeTest, SkippedStepsLeaveTheWeightsAndCount) {
  for (const Reduce reduce : {Reduce::kExact, Reduce::kFp32}) {
    Run run(OnSpike::kSkip, reduce, alone_);
    run.scale_gain(kTooLarge);
    const auto before = run.parameters();
    const auto scales = run.bench.state.scale_exponents;
    const StateValues counts = run.bench.state;
    const StepReport report = run.bench.trainer.step(run.bench.state);
    EXPECT_EQ(report.outcome, Outcome::kSkipped);
    EXPECT_GT(report.gradient_norm, 10 * SpikeDetector::median(counts.gradient_norms));
    EXPECT_EQ(run.parameters(), before);
    EXPECT_EQ(run.bench.state.scale_exponents, scales);
    EXPECT_EQ(run.bench.state.step, counts.step + 1);
    EXPECT_EQ(run.bench.state.sequences, counts.sequences + 6);
    EXPECT_EQ(run.bench.state.updates, counts.updates);
  }
}

TEST_F(SpikeTest, ClippingIsAStepWithAGradientOfUsualSize) {
  Run clipped(OnSpike::kClip, Reduce::kExact, alone_);
  clipped.scale_gain(kTooLarge);
  const auto before = clipped.parameters();
  const StepReport report = clipped.bench.trainer.step(clipped.bench.state);
  EXPECT_EQ(report.outcome, Outcome::kClipped);
  EXPECT_NE(clipped.parameters(), before);
  // The moment that is a tenth of the gradient holds the scaled one: it is not larger than usual.
  double squares = 0;
  for (const float m : clipped.bench.state.buffers[0].values())
    squares += static_cast<double>(m) * m;
  EXPECT_LT(std::sqrt(squares), 2 * SpikeDetector::median(clipped.bench.state.gradient_norms));
  EXPECT_EQ(clipped.bench.state.updates, SpikeDetector::kFewest + 1);
}

TEST_F(SpikeTest, ARefusedStepChangesNothing) {
  for (const OnSpike action : {OnSpike::kRollback, OnSpike::kStop}) {
    Run run(action, Reduce::kExact, alone_);
    run.scale_gain(kTooLarge);
    const auto before = run.parameters();
    const StateValues counts = run.bench.state;
    EXPECT_EQ(run.bench.trainer.step(run.bench.state).outcome, Outcome::kRefused);
    EXPECT_EQ(run.parameters(), before);
    EXPECT_EQ(run.bench.state.step, counts.step);
    EXPECT_EQ(run.bench.state.sequences, counts.sequences);
    EXPECT_EQ(run.bench.state.gradient_norms, counts.gradient_norms);
    EXPECT_EQ(run.bench.state.scale_exponents, counts.scale_exponents);
  }
}

TEST_F(SpikeTest, WhatIsNotFiniteIsSkippedForAWhile) {
  for (const Reduce reduce : {Reduce::kExact, Reduce::kFp32}) {
    for (const OnSpike action : {OnSpike::kSkip, OnSpike::kClip}) {
      Run run(action, reduce, alone_);
      run.scale_gain(std::numeric_limits<float>::quiet_NaN());
      const auto scales = run.bench.state.scale_exponents;
      for (std::size_t i = 0; i < SpikeDetector::kMostNotFinite; ++i) {
        EXPECT_EQ(run.bench.trainer.step(run.bench.state).outcome, Outcome::kSkipped);
      }
      EXPECT_EQ(run.bench.trainer.step(run.bench.state).outcome, Outcome::kRefused);
      EXPECT_EQ(run.bench.state.scale_exponents, scales);
      EXPECT_EQ(run.bench.state.updates, SpikeDetector::kFewest);
    }
  }
}

// It has no scales yet, and what it was taken for must not leave any.
TEST_F(SpikeTest, TheFirstStepMayBeSkipped) {
  support::TrainingBench bench(support::random_tokens(2000, 3),
                               Run::options(OnSpike::kSkip, Reduce::kExact), alone_);
  const model::Layout& layout = bench.model.layout();
  const model::Tensor& tensor = layout[*layout.layer(0).ln_1.gain];
  const float gain = bench.state.parameters[tensor.offset];
  bench.state.parameters[tensor.offset] = std::numeric_limits<float>::infinity();
  EXPECT_EQ(bench.trainer.step(bench.state).outcome, Outcome::kSkipped);
  EXPECT_THAT(bench.state.scale_exponents, testing::IsEmpty());
  bench.state.parameters[tensor.offset] = gain;
  EXPECT_EQ(bench.trainer.step(bench.state).outcome, Outcome::kUpdated);
  EXPECT_EQ(bench.state.updates, 1u);
}

TEST_F(SpikeTest, RanksDecideAlike) {
  std::vector<std::vector<Outcome>> outcomes(3);
  support::ThreadRanks(3).run([&](ranks::ProcessGroup& process_group) {
    Run run(OnSpike::kSkip, Reduce::kExact, process_group);
    auto& mine = outcomes[static_cast<std::size_t>(process_group.rank())];
    for (const float gain : {kTooLarge, 1 / kTooLarge}) {
      run.scale_gain(gain);
      mine.push_back(run.bench.trainer.step(run.bench.state).outcome);
    }
  });
  EXPECT_THAT(outcomes[0], testing::ElementsAre(Outcome::kSkipped, Outcome::kUpdated));
  EXPECT_EQ(outcomes[1], outcomes[0]);
  EXPECT_EQ(outcomes[2], outcomes[0]);
}

}  // namespace
}  // namespace cllm::train
