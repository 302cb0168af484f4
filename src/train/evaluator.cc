#include "cllm/train/evaluator.h"

#include <algorithm>

#include "cllm/base/parallel.h"
#include "cllm/base/stopwatch.h"
#include "cllm/train/batch.h"

namespace cllm::train {
namespace {

/// Positions of a unit, so that BLAS has rows enough. A function of the context alone: what is
/// computed together must not depend on ranks and threads.
constexpr std::size_t kUnitPositions = 256;

constexpr model::Purpose kPurpose = model::Purpose::kEvaluation;

model::UnitShape unit_shape(const model::ModelConfig& config) {
  const std::size_t sequences = std::max<std::size_t>(1, kUnitPositions / config.context);
  return {sequences, config.context, sequences * config.context};
}

}  // namespace

Evaluator::Evaluator(const model::Gpt& gpt, data::TokenView tokens, std::uint64_t sequences,
                     int threads, Collective& collective)
    : gpt_(gpt),
      tokens_(tokens),
      windows_(tokens.size(), gpt.layout().config().context, sequences),
      collective_(collective) {
  const model::ModelConfig& config = gpt.layout().config();
  const bool short_last = windows_[windows_.size() - 1].targets < config.context;
  full_windows_ = windows_.size() - (short_last ? 1 : 0);
  unit_sequences_ = unit_shape(config).sequences;
  for (int i = 0; i < threads; ++i) {
    workers_.push_back({.workspace = model::Workspace(config, unit_shape(config), kPurpose),
                        .scratch = model::Scratch(config.context, 0, kPurpose),
                        .inputs = Slab<std::uint32_t>(unit_sequences_ * config.context),
                        .targets = Slab<std::uint32_t>(unit_sequences_ * config.context)});
  }
}

template <typename Add>
std::vector<Evaluation> Evaluator::evaluate(const float* parameters, std::size_t sums,
                                            const Add& add) {
  Stopwatch clock;
  const Share share = share_of(units(), static_cast<std::size_t>(collective_.rank()),
                               static_cast<std::size_t>(collective_.size()));
  std::vector<std::vector<LossSum>> losses(workers_.size(), std::vector<LossSum>(sums));
  parallel(static_cast<int>(workers_.size()), [&](int thread) {
    const auto w = static_cast<std::size_t>(thread);
    Worker& worker = workers_[w];
    const Share mine = share_of(share.count, w, workers_.size());
    for (std::size_t i = 0; i < mine.count; ++i) {
      const model::Unit unit = read_unit(share.first + mine.first + i, worker);
      const double loss = gpt_.loss(parameters, unit, worker.workspace, worker.scratch);
      add(losses[w], unit, worker.workspace.losses, loss);
    }
  });
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
         (model::Workspace::bytes_for(config, unit_shape(config), kPurpose) +
          model::Scratch::bytes_for(config.context, 0, kPurpose));
}

std::size_t Evaluator::units() const {
  const std::size_t full = (full_windows_ + unit_sequences_ - 1) / unit_sequences_;
  return full + (windows_.size() - full_windows_);
}

model::Unit Evaluator::read_unit(std::size_t unit, Worker& worker) const {
  const std::size_t first = std::min(unit * unit_sequences_, full_windows_);
  const bool full = first < full_windows_;
  const std::size_t last = full ? std::min(first + unit_sequences_, full_windows_) : first + 1;
  const auto positions = static_cast<std::size_t>(windows_[first].targets);
  for (std::size_t i = first; i < last; ++i) {
    const std::size_t place = (i - first) * positions;
    const auto start = static_cast<std::size_t>(windows_[i].start);
    tokens_.copy(start, positions, worker.inputs.data() + place);
    tokens_.copy(start + 1, positions, worker.targets.data() + place);
  }
  return {worker.inputs.data(), worker.targets.data(), last - first, positions};
}

}  // namespace cllm::train
