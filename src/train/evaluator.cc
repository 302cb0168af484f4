#include "cllm/train/evaluator.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <new>

#include "cllm/base/error.h"
#include "cllm/base/fail_point.h"
#include "cllm/base/memory.h"
#include "cllm/base/parallel.h"
#include "cllm/base/stopwatch.h"
#include "cllm/train/batch.h"

namespace cllm::train {
namespace {

constexpr model::Purpose kPurpose = model::Purpose::kEvaluation;

}  // namespace

Evaluator::Evaluator(const model::Gpt& gpt, data::TokenView tokens, std::uint64_t sequences,
                     int threads, Collective& collective)
    : gpt_(gpt),
      units_(tokens, gpt.layout().config().context, sequences),
      collective_(collective),
      threads_(static_cast<std::size_t>(threads)) {}

template <typename Add>
std::vector<Evaluation> Evaluator::evaluate(const float* parameters, std::size_t sums,
                                            const Add& add) {
  Stopwatch clock;
  const model::ModelConfig& config = gpt_.layout().config();
  const Share share = share_of(units_.size(), static_cast<std::size_t>(collective_.rank()),
                               static_cast<std::size_t>(collective_.size()));
  std::vector<std::vector<LossSum>> losses(threads_, std::vector<LossSum>(sums));
  std::atomic<bool> short_of_memory = false;
  parallel(static_cast<int>(threads_), [&](int thread) {
    const auto w = static_cast<std::size_t>(thread);
    const Share mine = share_of(share.count, w, threads_);
    if (mine.count == 0) return;
    try {
      fail_point("evaluation.begins");
      Worker worker{.workspace = model::Workspace(config, units_.shape(), kPurpose),
                    .scratch = model::Scratch(config.context, 0, kPurpose),
                    .tokens = units_.make_room()};
      for (std::size_t i = 0; i < mine.count; ++i) {
        const model::Unit unit = units_.read(share.first + mine.first + i, worker.tokens);
        const double loss = gpt_.loss(parameters, unit, worker.workspace, worker.scratch);
        add(losses[w], unit, worker.workspace.losses, loss);
      }
    } catch (const std::bad_alloc&) {  // an exception must not leave the thread that threw it
      short_of_memory = true;
    }
  });
  return_free_memory();  // to what comes until the next evaluation
  std::array<std::int64_t, 1> ranks_short = {short_of_memory ? 1 : 0};
  collective_.sum(ranks_short);
  if (ranks_short[0] > 0) {
    throw ReplicatedError(
        "there is not enough memory for an evaluation; give fewer --threads, or use a smaller "
        "model "
        "or fewer ranks per host");
  }
  std::vector<Evaluation> result;
  for (std::size_t i = 0; i < sums; ++i) {
    LossSum sum;
    for (const std::vector<LossSum>& each : losses) sum.add(each[i]);
    collective_.sum(sum.values());
    result.push_back({.loss = sum.mean(), .positions = sum.positions(), .seconds = 0});
  }
  for (Evaluation& each : result) each.seconds = clock.elapsed();
  return result;
}

Evaluation Evaluator::evaluate(const float* parameters) {
  return evaluate(parameters, 1,
                  [](std::vector<LossSum>& sums, const model::Unit& unit, const float*,
                     double loss) { sums[0].add(loss, unit.rows()); })[0];
}

std::vector<Evaluation> Evaluator::evaluate_by_target(const float* parameters,
                                                      std::span<const std::uint8_t> class_of,
                                                      std::size_t classes) {
  return evaluate(
      parameters, classes,
      [&](std::vector<LossSum>& sums, const model::Unit& unit, const float* losses, double) {
        for (std::size_t row = 0; row < unit.rows(); ++row) {
          sums[class_of[unit.targets[row]]].add(static_cast<double>(losses[row]), 1);
        }
      });
}

std::uint64_t Evaluator::bytes_for(const model::ModelConfig& config, int threads) {
  return static_cast<std::uint64_t>(threads) *
         (model::Workspace::bytes_for(config, WindowUnits::shape_of(config.context), kPurpose) +
          model::Scratch::bytes_for(config.context, 0, kPurpose));
}

}  // namespace cllm::train
