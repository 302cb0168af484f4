// Held-out text is predicted better after training than by what counting can do.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "cllm/base/file.h"
#include "cllm/data/builtin/builtin_corpus.h"
#include "cllm/kernels/blas.h"
#include "cllm/model/initialize.h"
#include "cllm/train/adamw.h"
#include "cllm/train/evaluator.h"
#include "cllm/train/trainer.h"

namespace cllm::train {
namespace {

constexpr std::size_t kBytes = 256;

/// Mean loss on `validation` of the unigram model, or of the bigram model, counted on `training`,
/// with a pseudo-count of 0.1 for what was never seen.
double counted_loss(const std::vector<std::uint32_t>& training,
                    const std::vector<std::uint32_t>& validation, bool bigram) {
  constexpr double kPseudo = 0.1;
  std::vector<double> pairs(kBytes * kBytes), before(kBytes);
  const auto row = [&](std::uint32_t previous) { return bigram ? previous : 0; };
  for (std::size_t i = 1; i < training.size(); ++i) {
    pairs[row(training[i - 1]) * kBytes + training[i]] += 1;
    before[row(training[i - 1])] += 1;
  }
  double loss = 0;
  for (std::size_t i = 1; i < validation.size(); ++i) {
    const std::size_t r = row(validation[i - 1]);
    loss -=
        std::log((pairs[r * kBytes + validation[i]] + kPseudo) / (before[r] + kPseudo * kBytes));
  }
  return loss / static_cast<double>(validation.size() - 1);
}

std::string text_path() {
  const char* folder = std::getenv("CLLM_DATA_DIR");
  return std::string(folder != nullptr ? folder : CLLM_DATA_DIR) + "/tinyshakespeare.txt";
}

/// Trains on the first nine tenths of a text, and compares with counting on the rest.
void expect_better_than_counting(const std::string& text) {
  const auto cut = static_cast<long>(text.find('\n', text.size() * 9 / 10) + 1);
  const auto byte = [](char c) {
    return static_cast<std::uint32_t>(static_cast<unsigned char>(c));
  };
  std::vector<std::uint32_t> training, validation;
  std::transform(text.begin(), text.begin() + cut, std::back_inserter(training), byte);
  std::transform(text.begin() + cut, text.end(), std::back_inserter(validation), byte);
  const double unigram = counted_loss(training, validation, false);
  const double bigram = counted_loss(training, validation, true);
  ASSERT_LT(bigram, unigram);

  const model::ModelConfig config{
      .layers = 2, .heads = 4, .channels = 64, .context = 64, .vocabulary = kBytes};
  constexpr int kThreads = 2;
  kernels::prepare_blas(kThreads);
  ranks::SingleProcess solo;
  const model::Model model(config, kernels::select_kernels());
  State state(model.layout(), AdamW::kBuffers);
  model::initialize(model.layout(), 1, state.parameters.span(), 2);
  const data::TokenView train_view{std::span<const std::uint32_t>(training)};
  const data::TokenView validation_view{std::span<const std::uint32_t>(validation)};
  const data::Sequences sequences(train_view,
                                  data::WindowSampler(1, training.size(), config.context));
  const TrainerOptions options{
      .optimizer = {},
      .schedule = {.learning_rate = 3e-3, .min_learning_rate = 3e-4, .warmup = 20, .steps = 500},
      .batch = 12,
      .micro_batch = 3,
      .threads = kThreads};
  Trainer trainer(model, kernels::select_kernels(), options, sequences, solo);
  Evaluator evaluator(model, validation_view, 0, kThreads, solo);
  // The test must be able to fail: untrained, the model is worse than counting.
  EXPECT_GT(evaluator.evaluate(state.parameters.data()).loss, unigram);
  while (state.step < options.schedule.steps) trainer.step(state);
  const double loss = evaluator.evaluate(state.parameters.data()).loss;
  ::testing::Test::RecordProperty("losses", std::to_string(unigram) + " " + std::to_string(bigram) +
                                                " " + std::to_string(loss));
  EXPECT_LT(loss, unigram);
  EXPECT_LT(loss, bigram);
}

TEST(HeldOutText, OfShakespeareIsPredictedBetterThanByCounting) {
  if (!std::filesystem::exists(text_path())) {
    GTEST_SKIP() << "real text is not at hand; set CLLM_DATA_DIR to a folder with "
                    "tinyshakespeare.txt";
  }
  expect_better_than_counting(read_file(text_path()));
}

TEST(HeldOutText, OfTheBuiltInCorpusIsPredictedBetterThanByCounting) {
  expect_better_than_counting(data::generate_builtin_corpus(1, std::size_t{1} << 20).text);
}

}  // namespace
}  // namespace cllm::train
