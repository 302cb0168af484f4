// Training and evaluation where only some targets count, by rows of documents that don't see each
// other.
#include <gmock/gmock.h>

#include <cmath>
#include <memory>

#include "cllm/data/document_rows.h"
#include "cllm/data/sequences.h"
#include "cllm/kernels/blas.h"
#include "cllm/model/initialize.h"
#include "cllm/train/adamw.h"
#include "cllm/train/evaluator.h"
#include "cllm/train/trainer.h"
#include "support/thread_ranks.h"
#include "support/training_bench.h"

namespace cllm::train {
namespace {

using data::DocumentOrder;
using data::DocumentRows;
using data::Documents;
using data::RowSource;
using data::Sequences;
using data::TokenMask;
using data::TokenView;

const model::ModelConfig kConfig = support::kSmallModel;

/// A text of documents of 1 to 40 tokens, in which about half of the stretches count.
struct Text {
  Text() : tokens(support::random_tokens(3000, 5, kConfig)) {
    RandomStream random(7, 0);
    while (marks.tokens < tokens.size()) {
      marks.begin_document();
      for (const bool counts : {false, true}) {
        marks.add(std::min<std::uint64_t>(random.below(20), tokens.size() - marks.tokens), 0,
                  counts);
      }
    }
  }
  RowSource source(bool masked, bool separate) const {
    RowSource source{.tokens = TokenView(std::span<const std::uint32_t>(tokens))};
    if (masked) source.mask = TokenMask(marks.counted);
    if (separate) source.documents = documents();
    return source;
  }
  Documents documents() const { return Documents(marks.documents, 0, tokens.size()); }
  std::shared_ptr<const DocumentRows> rows() const {
    return std::make_shared<const DocumentRows>(documents(), tokens.size(), kConfig.context);
  }
  Sequences packed() const {
    return Sequences({{source(true, true), std::make_shared<DocumentOrder>(1, rows())}},
                     data::Mixture({1}));
  }

  std::vector<std::uint32_t> tokens;
  data::TokenMarks marks;
};

struct Trained {
  std::vector<double> losses;
  std::vector<float> parameters;
  bool operator==(const Trained&) const = default;
};

Trained trained(const Sequences& sequences, int ranks, int threads, int team, int steps) {
  Trained result;
  kernels::prepare_blas(threads);
  support::ThreadRanks(ranks).run([&](ranks::ProcessGroup& process_group) {
    TrainerOptions options = support::trainer_options(7, 2, threads);
    options.team = team;
    const model::Model model(kConfig, kernels::select_kernels());
    State state(model.layout(), find_optimizer(options.optimizer.name).buffers);
    model::initialize(model.layout(), 1, state.parameters.span(), 1);
    Trainer trainer(model, kernels::select_kernels(), options, sequences, process_group);
    std::vector<double> losses;
    for (int step = 0; step < steps; ++step) {
      const StepReport report = trainer.step(state);
      losses.push_back(report.loss);
      losses.push_back(report.gradient_norm);
      losses.push_back(static_cast<double>(report.targets.value_or(0)));
    }
    if (process_group.rank() != 0) return;
    result.losses = losses;
    result.parameters.assign(state.parameters.span().begin(), state.parameters.span().end());
  });
  return result;
}

TEST(CountedTargetsTest, TheSameBitsOnAnyRanksThreadsAndTeams) {
  const Text text;
  const Sequences sequences = text.packed();
  const Trained alone = trained(sequences, 1, 1, 0, 6);
  EXPECT_EQ(trained(sequences, 1, 2, 0, 6), alone);
  EXPECT_EQ(trained(sequences, 1, 2, 2, 6), alone);
  EXPECT_EQ(trained(sequences, 2, 1, 0, 6), alone);
  EXPECT_EQ(trained(sequences, 3, 1, 0, 6), alone);
  // Were masks, documents or rows without effect, all this would say nothing.
  const auto windows =
      std::make_shared<data::WindowSampler>(1, text.tokens.size(), kConfig.context);
  const auto rows = std::make_shared<DocumentOrder>(1, text.rows());
  const auto with = [&](bool masked, bool separate, std::shared_ptr<const data::RowOrder> order) {
    return trained(
        Sequences({{text.source(masked, separate), std::move(order)}}, data::Mixture({1})), 1, 1, 0,
        6);
  };
  const Trained plain = with(false, false, windows);
  EXPECT_NE(with(false, true, rows), alone);
  EXPECT_NE(with(true, false, rows), alone);
  EXPECT_NE(with(true, true, windows), alone);
  EXPECT_NE(with(false, true, windows), plain);
  EXPECT_NE(with(true, false, windows), plain);
}

TEST(CountedTargetsTest, TheLossIsTheMeanOverWhatCountsInTheGlobalBatch) {
  const Text text;
  const Sequences sequences = text.packed();
  const model::Model model(kConfig, kernels::select_kernels());
  State state(model.layout(), AdamW::kBuffers);
  model::initialize(model.layout(), 1, state.parameters.span(), 1);
  model::Workspace workspace(model.network(), {1, kConfig.context, kConfig.context},
                             model::Purpose::kEvaluation);
  model::Scratch scratch(model.layout().config(), 0);
  double sum = 0;
  std::uint64_t counted = 0;
  std::vector<std::uint32_t> inputs(kConfig.context), targets = inputs, begins = inputs;
  for (std::uint64_t n = 0; n < 7; ++n) {
    sequences.read(n, {inputs.data(), targets.data(), begins.data()});
    const auto counts = [](std::uint32_t target) { return target != kernels::kNoTarget; };
    const auto some = static_cast<std::uint64_t>(std::ranges::count_if(targets, counts));
    EXPECT_EQ(sequences.counted(n), some);
    counted += some;
    sum += model.loss(state.parameters.data(),
                      {.inputs = inputs.data(),
                       .targets = targets.data(),
                       .sequences = 1,
                       .positions = kConfig.context,
                       .begins = begins.data()},
                      workspace, scratch);
  }
  EXPECT_LT(counted, 7 * kConfig.context);
  const Trained step = trained(sequences, 2, 1, 0, 1);
  EXPECT_NEAR(step.losses[0], sum / static_cast<double>(counted), 1e-5);
  EXPECT_EQ(step.losses[2], static_cast<double>(counted));
}

TEST(CountedTargetsTest, ABatchWithoutTargetsChangesNothing) {
  const std::vector<std::uint32_t> tokens = support::random_tokens(600, 5, kConfig);
  data::TokenMarks marks;
  marks.add(tokens.size(), 0, false);
  const RowSource source{.tokens = TokenView(std::span<const std::uint32_t>(tokens)),
                         .mask = TokenMask(marks.counted)};
  const Sequences sequences(
      {{source, std::make_shared<data::WindowSampler>(1, tokens.size(), kConfig.context)}},
      data::Mixture({1}));
  ranks::SingleProcess alone;
  const TrainerOptions options = support::trainer_options(4, 2, 1);
  const model::Model model(kConfig, kernels::select_kernels());
  State state(model.layout(), find_optimizer(options.optimizer.name).buffers);
  model::initialize(model.layout(), 1, state.parameters.span(), 1);
  const std::vector<float> before(state.parameters.span().begin(), state.parameters.span().end());
  Trainer trainer(model, kernels::select_kernels(), options, sequences, alone);
  for (std::uint64_t step = 1; step < 5; ++step) {  // more than may be not finite in a row
    const StepReport report = trainer.step(state);
    EXPECT_EQ(report.outcome, Outcome::kEmpty);
    EXPECT_EQ(report.targets, 0u);
    EXPECT_TRUE(std::isnan(report.loss));
    EXPECT_EQ(state.step, step);
    EXPECT_EQ(state.sequences, 4 * step);
  }
  EXPECT_EQ(state.updates, 0u);
  EXPECT_TRUE(std::ranges::equal(state.parameters.span(), before));
}

TEST(CountedTargetsTest, AnEvaluationIsOverWhatCounts) {
  const Text text;
  const model::Model model(kConfig, kernels::select_kernels());
  State state(model.layout(), AdamW::kBuffers);
  model::initialize(model.layout(), 1, state.parameters.span(), 1);
  ranks::SingleProcess alone;
  const auto evaluation = [&](const EvaluatedText& one, ranks::ProcessGroup& process_group) {
    return Evaluator(model, std::vector<EvaluatedText>{one}, 0, 2, process_group)
        .evaluate(state.parameters.data());
  };
  const EvaluatedText all{.name = "all", .rows = text.source(false, false)};
  const EvaluatedText some{.name = "some", .rows = text.source(true, false)};
  const EvaluatedText packed{
      .name = "rows", .rows = text.source(true, true), .documents = text.rows()};
  const TokenMask mask(text.marks.counted);
  EXPECT_EQ(evaluation(some, alone).positions, mask.count(1, text.tokens.size()));
  EXPECT_NE(evaluation(some, alone).loss, evaluation(all, alone).loss);
  std::uint64_t counted = 0;
  for (std::uint64_t i = 0; i < text.rows()->size(); ++i) {
    counted += text.source(true, true).counted((*text.rows())[i]);
  }
  const Evaluation rows = evaluation(packed, alone);
  EXPECT_EQ(rows.positions, counted);
  support::ThreadRanks(3).run([&](ranks::ProcessGroup& process_group) {
    EXPECT_EQ(evaluation(packed, process_group).loss, rows.loss);
  });
}

}  // namespace
}  // namespace cllm::train
