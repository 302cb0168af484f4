#include "cllm/train/trainer.h"

#include <omp.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>

#include "cllm/base/error.h"
#include "cllm/base/stopwatch.h"

namespace cllm::train {
namespace {

/// Floats of the gradient that a thread sums at a time.
constexpr std::size_t kSumChunk = std::size_t{1} << 14;

}  // namespace

Trainer::Trainer(const model::Gpt& gpt, const kernels::Kernels& kernels,
                 const TrainerOptions& options, data::TokenView tokens,
                 const data::WindowSampler& sampler, Collective& collective)
    : gpt_(gpt),
      kernels_(kernels),
      options_(options),
      tokens_(tokens),
      sampler_(sampler),
      collective_(collective),
      norm_parts_(norm_parts(gpt.layout().slab_size())) {
  validate(options.optimizer);
  validate(options.schedule);
  check_micro_batch(options.batch, options.micro_batch);
  units_ =
      share_of(options.batch / options.micro_batch, static_cast<std::size_t>(collective.rank()),
               static_cast<std::size_t>(collective.size()));

  const model::ModelConfig& config = gpt.layout().config();
  const std::size_t positions = options.micro_batch * config.context;
  const std::size_t count =
      std::clamp<std::size_t>(units_.count, 1, static_cast<std::size_t>(options.threads));
  std::vector<std::optional<Worker>> made(count);
  // Each thread makes its own, so that its memory lies near the processor it runs on.
#pragma omp parallel for num_threads(static_cast <int>(count)) schedule(static, 1)
  for (std::size_t i = 0; i < count; ++i) {
    try {
      made[i].emplace(
          Worker{.workspace = model::Workspace(config, options.micro_batch, config.context,
                                               model::Workspace::Purpose::kTraining),
                 .gradient = Slab<float>(gpt.layout().slab_size()),
                 .window = Slab<std::uint32_t>(config.context + 1),
                 .inputs = Slab<std::uint32_t>(positions),
                 .targets = Slab<std::uint32_t>(positions),
                 .loss = {}});
    } catch (const std::bad_alloc&) {  // an exception must not leave the thread that threw it
    }
  }
  for (std::optional<Worker>& worker : made) {
    if (!worker) throw std::bad_alloc();
    workers_.push_back(std::move(*worker));
  }
}

StepReport Trainer::step(State& state) {
  StepReport report{};
  Stopwatch clock;
  forward_backward(state);
  sum_workers();
  report.compute_seconds = clock.lap();

  LossSum loss;
  for (const Worker& worker : workers_) loss.add(worker.loss);
  collective_.sum(loss.values());
  collective_.sum(gradient());
  report.communication_seconds = clock.lap();

  report.loss = loss.mean();
  report.rate = options_.schedule.at(state.step);
  report.gradient_norm = gradient_norm(kernels_, gradient(), options_.threads, norm_parts_.span());
  if (!std::isfinite(report.loss) || !std::isfinite(report.gradient_norm)) {
    throw ReplicatedError(
        fmt::format("the loss or its gradient is not a number at step {}; lower --lr, lengthen "
                    "--warmup or lower --clip, and start anew or from the last checkpoint",
                    state.step + 1));
  }
  update(gpt_.layout(), kernels_, options_.optimizer, report.rate,
         clip_scale(report.gradient_norm, options_.optimizer.clip), gradient(), state,
         options_.threads);
  report.update_seconds = clock.lap();

  state.step += 1;
  state.tokens_seen += options_.batch * gpt_.layout().config().context;
  return report;
}

/// Each thread takes its share of this rank's units, in order, into a gradient of its own.
void Trainer::forward_backward(const State& state) {
  const std::size_t context = gpt_.layout().config().context;
  const float scale = 1.0f / static_cast<float>(options_.batch * context);
#pragma omp parallel for num_threads(static_cast <int>(workers_.size())) schedule(static, 1)
  for (std::size_t w = 0; w < workers_.size(); ++w) {
    Worker& worker = workers_[w];
    worker.gradient.fill(0.0f);
    worker.loss = {};
    const Share share = share_of(units_.count, w, workers_.size());
    for (std::size_t i = 0; i < share.count; ++i) {
      const model::Unit unit = read_unit(units_.first + share.first + i, state.step, worker);
      const double loss = gpt_.loss_and_gradient(state.parameters.data(), unit, scale,
                                                 worker.workspace, worker.gradient.data());
      worker.loss.add(loss, unit.rows());
    }
  }
}

/// The tokens of a unit of the global batch of `step`, in the worker's buffers.
model::Unit Trainer::read_unit(std::size_t unit, std::uint64_t step, Worker& worker) const {
  const std::size_t context = gpt_.layout().config().context;
  for (std::size_t s = 0; s < options_.micro_batch; ++s) {
    const std::uint64_t sequence = step * options_.batch + unit * options_.micro_batch + s;
    std::uint32_t* window = worker.window.data();
    tokens_.copy(sampler_.start(sequence), context + 1, window);
    std::memcpy(worker.inputs.data() + s * context, window, context * sizeof(*window));
    std::memcpy(worker.targets.data() + s * context, window + 1, context * sizeof(*window));
  }
  return {worker.inputs.data(), worker.targets.data(), options_.micro_batch, context};
}

/// The first worker's gradient becomes the sum of all, added in the order of workers.
void Trainer::sum_workers() {
  if (workers_.size() == 1) return;
  const std::size_t size = gpt_.layout().slab_size();
  const std::size_t chunks = (size + kSumChunk - 1) / kSumChunk;
#pragma omp parallel for num_threads(options_.threads) schedule(static)
  for (std::size_t chunk = 0; chunk < chunks; ++chunk) {
    const std::size_t first = chunk * kSumChunk;
    for (std::size_t w = 1; w < workers_.size(); ++w) {
      kernels_.add(workers_[w].gradient.data() + first, workers_[0].gradient.data() + first,
                   std::min(kSumChunk, size - first));
    }
  }
}

}  // namespace cllm::train
