#include "cllm/train/trainer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "cllm/base/error.h"
#include "cllm/base/random.h"
#include "cllm/kernels/blas.h"
#include "cllm/model/initialize.h"
#include "cllm/train/adamw.h"
#include "cllm/train/evaluator.h"
#include "support/training_bench.h"

namespace cllm::train {
namespace {

using support::random_tokens;
using support::TrainingBench;

const model::ModelConfig& kConfig = support::kSmallModel;

ranks::SingleProcess alone;

/// On one rank.
struct Bench : TrainingBench {
  Bench(std::vector<std::uint32_t> text, const TrainerOptions& options)
      : TrainingBench(std::move(text), options, alone) {}
};

TrainerOptions options_with(std::size_t batch, std::size_t micro_batch, int threads) {
  return support::trainer_options(batch, micro_batch, threads);
}

// An untrained model knows nothing: its loss is that of a uniform guess.
TEST(Trainer, StartsAtTheLogarithmOfTheVocabulary) {
  Bench bench(random_tokens(2000, 3), options_with(16, 4, 2));
  const double guess = std::log(static_cast<double>(kConfig.vocabulary));
  EXPECT_NEAR(bench.trainer.step(bench.state).loss, guess, 0.02 * guess);
}

TEST(Trainer, OverfitsOneBatch) {
  TrainerOptions options = options_with(4, 2, 2);
  options.schedule.learning_rate = 3e-3;
  options.optimizer.weight_decay = 0;
  Bench bench(random_tokens(kConfig.context + 1, 3), options);
  StepReport report{};
  for (int step = 0; step < 300; ++step) report = bench.trainer.step(bench.state);
  EXPECT_LT(report.loss, 0.01);
}

std::vector<double> losses(std::size_t micro_batch, int threads, std::uint64_t text_seed = 3) {
  Bench bench(random_tokens(2000, text_seed), options_with(12, micro_batch, threads));
  std::vector<double> result;
  for (int step = 0; step < 20; ++step) result.push_back(bench.trainer.step(bench.state).loss);
  return result;
}

// The order of sums differs, and nothing else: float sums of some hundred terms agree to 1e-5, and
// twenty steps don't amplify that tenfold.
TEST(Trainer, LossesDoNotDependOnThreadsOrMicroBatch) {
  const std::vector<double> one = losses(1, 1);
  const auto furthest = [&](const std::vector<double>& other) {
    double distance = 0;
    for (std::size_t i = 0; i < one.size(); ++i) {
      distance = std::max(distance, std::abs(one[i] - other[i]));
    }
    return distance;
  };
  EXPECT_LT(furthest(losses(1, 2)), 1e-4);
  EXPECT_LT(furthest(losses(1, 5)), 1e-4);
  EXPECT_LT(furthest(losses(3, 2)), 1e-4);
  EXPECT_LT(furthest(losses(12, 4)), 1e-4);
  EXPECT_GT(furthest(losses(1, 1, 4)), 1e-3);  // another text is told apart
}

TEST(Trainer, TheSameRunGivesTheSameBits) { EXPECT_EQ(losses(2, 3), losses(2, 3)); }

TEST(Trainer, CountsStepsAndTokens) {
  Bench bench(random_tokens(2000, 3), options_with(12, 3, 2));
  bench.trainer.step(bench.state);
  bench.trainer.step(bench.state);
  EXPECT_EQ(bench.state.step, 2u);
  EXPECT_EQ(bench.state.tokens_seen, 2u * 12 * 16);
}

TEST(Trainer, RefusesOptionsThatMakeNoSense) {
  EXPECT_THROW(Bench(random_tokens(2000, 3), options_with(12, 13, 1)), Error);
  TrainerOptions options = options_with(12, 1, 1);
  options.schedule.learning_rate = -1;
  EXPECT_THROW(Bench(random_tokens(2000, 3), options), Error);
}

/// Plays one rank of several: what the others would send comes from a list.
class RankOf final : public ranks::ProcessGroup {
 public:
  RankOf(int rank, int size) : rank_(rank), size_(size) {}
  int rank() const override { return rank_; }
  int size() const override { return size_; }
  void use(ranks::Allreduce) override {}
  void all_reduce(std::span<float>) override {}
  void all_reduce(std::span<std::int32_t>) override {}
  void all_reduce(std::span<std::int64_t> values) override {
    for (std::size_t i = 0; i < values.size(); ++i) {
      if (sums.size() <= i) sums.push_back(0);
      sums[i] += values[i];
    }
  }
  std::string broadcast(std::string bytes) override { return bytes; }
  std::vector<std::string> all_gather(const std::string& bytes) override { return {bytes}; }
  void all_gather(std::span<float>, std::span<const ranks::Part>) override {}

  std::vector<std::int64_t> sums;

 private:
  int rank_, size_;
};

/// An untrained model, and a text for it.
struct EvaluatorTest : testing::Test {
  EvaluatorTest() { model::initialize(model.layout(), 1, state.parameters.span(), 2); }

  const std::vector<std::uint32_t> tokens = random_tokens(1003, 9);
  const data::TokenView view{std::span<const std::uint32_t>(tokens)};
  const model::Model model{kConfig, kernels::select_kernels()};
  State state{model.layout(), AdamW::kBuffers};
};

TEST_F(EvaluatorTest, MeanIsTheSameForAnySplit) {
  for (const std::uint64_t sequences : {0u, 7u}) {
    ranks::SingleProcess solo;
    const Evaluation whole =
        Evaluator(model, view, sequences, 1, solo).evaluate(state.parameters.data());
    if (sequences == 0) {
      EXPECT_EQ(whole.positions, tokens.size() - 1);
    }
    EXPECT_EQ(Evaluator(model, view, sequences, 3, solo).evaluate(state.parameters.data()).loss,
              whole.loss);
    std::vector<std::int64_t> sums;
    for (int rank = 0; rank < 3; ++rank) {
      RankOf process_group(rank, 3);
      process_group.sums = sums;
      Evaluator(model, view, sequences, 2, process_group).evaluate(state.parameters.data());
      sums = process_group.sums;
    }
    // Losses in multiples of 2^-20 nats, then positions.
    EXPECT_EQ(static_cast<double>(sums[0]) * 0x1p-20 / static_cast<double>(sums[1]), whole.loss);
  }
}

TEST_F(EvaluatorTest, TextsAreEvaluatedEachAndByTheirWeights) {
  ranks::SingleProcess solo;
  const data::TokenView first = view.subview(0, 700), second = view.subview(700, 303);
  const auto loss_of = [&](const data::TokenView& text) {
    return Evaluator(model, text, 0, 1, solo).evaluate(state.parameters.data());
  };
  const std::vector<EvaluatedText> texts = {{"a", {first}, 3}, {"b", {second}, 1}};
  support::ThreadRanks(3).run([&](ranks::ProcessGroup& process_group) {
    const Evaluation all =
        Evaluator(model, texts, 0, 2, process_group).evaluate(state.parameters.data());
    ASSERT_EQ(all.texts.size(), 2u);
    EXPECT_EQ(all.texts[0].loss, loss_of(first).loss);
    EXPECT_EQ(all.texts[1].loss, loss_of(second).loss);
    EXPECT_EQ(all.texts[1].positions, 302u);
    EXPECT_EQ(all.positions, 1001u);
    EXPECT_DOUBLE_EQ(all.loss, (3 * all.texts[0].loss + all.texts[1].loss) / 4);
  });
}

TEST_F(EvaluatorTest, ClassesOfTargetsAreThePartsOfTheWhole) {
  const float* parameters = state.parameters.data();
  // The first class is one token; the last, none.
  std::vector<std::uint8_t> class_of(kConfig.vocabulary, 1);
  class_of[7] = 0;
  const auto by_class = [&](const data::TokenView& text, int threads,
                            ranks::ProcessGroup& process_group) {
    return Evaluator(model, text, 0, threads, process_group)
        .evaluate_by_target(parameters, class_of, 3);
  };
  ranks::SingleProcess solo;
  const std::vector<Evaluation> parts = by_class(view, 1, solo);
  const Evaluation whole = Evaluator(model, view, 0, 1, solo).evaluate(parameters);
  ASSERT_EQ(parts.size(), 3u);
  EXPECT_EQ(parts[0].positions,
            static_cast<std::uint64_t>(std::count(tokens.begin() + 1, tokens.end(), 7u)));
  EXPECT_EQ(parts[0].positions + parts[1].positions, whole.positions);
  EXPECT_EQ(parts[2].positions, 0u);
  EXPECT_TRUE(std::isnan(parts[2].loss));
  double sum = 0;
  for (const std::size_t i : {0U, 1U})
    sum += parts[i].loss * static_cast<double>(parts[i].positions);
  // Each position's loss is rounded by at most half of 2^-20.
  EXPECT_NEAR(sum / static_cast<double>(whole.positions), whole.loss, 0x1p-20);

  // Where only targets of the first class remain, its loss is that of the whole.
  std::size_t end = 1;
  while (tokens[end] != 7) ++end;
  const data::TokenView last_window = view.subview(end - 1, 2);
  EXPECT_NEAR(by_class(last_window, 1, solo)[0].loss,
              Evaluator(model, last_window, 0, 1, solo).evaluate(parameters).loss, 0x1p-20);

  support::ThreadRanks(3).run([&](ranks::ProcessGroup& process_group) {
    const std::vector<Evaluation> shared = by_class(view, 2, process_group);
    for (const std::size_t i : {0U, 1U}) {
      EXPECT_EQ(shared[i].loss, parts[i].loss);
      EXPECT_EQ(shared[i].positions, parts[i].positions);
    }
  });
}

}  // namespace
}  // namespace cllm::train
