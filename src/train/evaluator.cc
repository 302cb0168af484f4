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
#include "cllm/train/work_sharing.h"

namespace cllm::train {
namespace {

constexpr model::Purpose kPurpose = model::Purpose::kEvaluation;

/// Room for the micro-batches of any of the texts.
WindowMicroBatches::Tokens room_of(const std::vector<WindowMicroBatches>& texts) {
  WindowMicroBatches::Tokens room = texts.front().make_room();
  for (const WindowMicroBatches& text : texts) {
    WindowMicroBatches::Tokens own = text.make_room();
    if (own.begins.size() > 0) return own;
  }
  return room;
}

}  // namespace

Evaluator::Evaluator(const model::Model& model, const std::vector<EvaluatedText>& texts,
                     std::uint64_t sequences, int threads, ranks::ProcessGroup& process_group)
    : model_(model),
      texts_(texts),
      first_{0},
      process_group_(process_group),
      threads_(static_cast<std::size_t>(threads)) {
  for (const EvaluatedText& text : texts) {
    micro_batches_.emplace_back(text.rows, text.documents, model.layout().config().context,
                                sequences);
    first_.push_back(first_.back() + micro_batches_.back().size());
  }
}

template <typename Add>
std::vector<Evaluation> Evaluator::evaluate(const float* parameters, std::size_t sums,
                                            const Add& add) {
  Stopwatch clock;
  const model::ModelConfig& config = model_.layout().config();
  const Share share = share_of(first_.back(), static_cast<std::size_t>(process_group_.rank()),
                               static_cast<std::size_t>(process_group_.size()));
  std::vector<std::vector<LossSum>> losses(threads_, std::vector<LossSum>(sums));
  std::atomic<bool> short_of_memory = false;
  parallel(static_cast<int>(threads_), [&](int thread) {
    const auto w = static_cast<std::size_t>(thread);
    const Share mine = share_of(share.count, w, threads_);
    if (mine.count == 0) return;
    try {
      fail_point("evaluation.begins");
      Worker worker{
          .workspace = model::Workspace(model_.network(), micro_batches_.front().shape(), kPurpose),
          .scratch = model::Scratch(config, 0),
          .tokens = room_of(micro_batches_)};
      for (std::size_t i = 0; i < mine.count; ++i) {
        const std::size_t place = share.first + mine.first + i;
        const auto text =
            static_cast<std::size_t>(std::ranges::upper_bound(first_, place) - first_.begin() - 1);
        const model::MicroBatch micro_batch =
            micro_batches_[text].read(place - first_[text], worker.tokens);
        const double loss = model_.loss(parameters, micro_batch, worker.workspace, worker.scratch);
        add(losses[w], text, micro_batch, worker.workspace.losses, loss);
      }
    } catch (const std::bad_alloc&) {  // an exception must not leave the thread that threw it
      short_of_memory = true;
    }
  });
  return_free_memory();  // to what comes until the next evaluation
  std::array<std::int64_t, 1> ranks_short = {short_of_memory ? 1 : 0};
  process_group_.all_reduce(ranks_short);
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
    process_group_.all_reduce(sum.values());
    result.push_back({.loss = sum.mean(), .positions = sum.positions(), .seconds = 0});
  }
  for (Evaluation& each : result) each.seconds = clock.elapsed();
  return result;
}

Evaluation Evaluator::evaluate(const float* parameters) {
  const std::vector<Evaluation> each = evaluate(
      parameters, texts_.size(),
      [](std::vector<LossSum>& sums, std::size_t text, const model::MicroBatch& micro_batch,
         const float*, double loss) { sums[text].add(loss, micro_batch.counted()); });
  if (each.size() == 1) return each.front();
  Evaluation all{.loss = 0, .positions = 0, .seconds = each.front().seconds};
  double weights = 0;
  for (std::size_t i = 0; i < each.size(); ++i) {
    all.loss += texts_[i].weight * each[i].loss;
    weights += texts_[i].weight;
    all.positions += each[i].positions;
    all.texts.push_back({texts_[i].name, each[i].loss, each[i].positions});
  }
  all.loss /= weights;
  return all;
}

std::vector<Evaluation> Evaluator::evaluate_by_target(const float* parameters,
                                                      std::span<const std::uint8_t> class_of,
                                                      std::size_t classes) {
  return evaluate(parameters, classes,
                  [&](std::vector<LossSum>& sums, std::size_t, const model::MicroBatch& micro_batch,
                      const float* losses, double) {
                    for (std::size_t row = 0; row < micro_batch.rows(); ++row) {
                      if (micro_batch.targets[row] == kernels::kNoTarget) continue;
                      sums[class_of[micro_batch.targets[row]]].add(static_cast<double>(losses[row]),
                                                                   1);
                    }
                  });
}

std::uint64_t Evaluator::bytes_for(const model::Network& network, int threads) {
  const model::ModelConfig& config = network.layout.config();
  const auto shape = WindowMicroBatches::shape_of(config.context);
  return static_cast<std::uint64_t>(threads) *
         (model::Workspace::bytes_for(network, shape, kPurpose) +
          model::Scratch::bytes_for(config, 0));
}

}  // namespace cllm::train
