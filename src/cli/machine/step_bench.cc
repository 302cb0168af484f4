#include "cllm/cli/machine/step_bench.h"

#include <algorithm>
#include <numeric>

#include "cllm/base/random.h"
#include "cllm/base/stopwatch.h"
#include "cllm/cli/machine/probes.h"
#include "cllm/cli/run/recompute.h"
#include "cllm/kernels/products.h"
#include "cllm/model/initialize.h"
#include "cllm/ranks/agreement.h"
#include "cllm/train/work_sharing.h"

namespace cllm::cli {
namespace {

/// Text is as long as that many batches, so that steps don't all see the same.
constexpr std::size_t kBatchesOfText = 8;

/// How long is measured.
constexpr double kStepsSeconds = 3;

/// Steps of `trains`, timed by the slowest rank of `all`, who begin and end together.
StepSeconds measure(const TrainSettings& settings, const Machine& machine,
                    ranks::ProcessGroup& trains, ranks::ProcessGroup& all) {
  std::optional<StepBench> bench;
  ranks::in_agreement(all, [&] { bench.emplace(settings, machine, trains); });
  bench->step();  // with what is done once
  const double guess = slowest(bench->step().seconds(), all);
  std::vector<double> seconds, compute, update, exposed, hidden;
  const int steps = std::clamp(static_cast<int>(kStepsSeconds / guess), 3, 50);
  for (int i = 0; i < steps; ++i) {
    const train::StepReport report = bench->step();
    seconds.push_back(report.seconds());
    compute.push_back(report.compute_seconds);
    update.push_back(report.update_seconds);
    exposed.push_back(report.communication_seconds);
    hidden.push_back(report.hidden_communication_seconds);
  }
  return {.all = slowest(median(seconds), all),
          .compute = slowest(median(compute), all),
          .update = slowest(median(update), all),
          .exposed = slowest(median(exposed), all),
          .hidden = slowest(median(hidden), all)};
}

}  // namespace

std::uint64_t default_vocabulary(const std::string& preset) {
  if (preset.starts_with("gpt2")) return 50257;
  if (preset.starts_with("llama")) return 32000;
  if (preset.starts_with("smollm")) return 49152;
  if (preset.starts_with("qwen3")) return 151'936;
  return preset == "medium" ? 4096 : 256;
}

double median(std::vector<double> values) {
  const auto middle = values.begin() + std::ssize(values) / 2;
  std::ranges::nth_element(values, middle);
  return *middle;
}

ProductBench::ProductBench(ThreadPool& pool, std::size_t size, const kernels::Products& products)
    : pool_(pool), size_(size), products_(products) {
  for (int i = 0; i < pool.size(); ++i) {
    for (int matrix = 0; matrix < 3; ++matrix) {
      matrices_.emplace_back(size * size);
      matrices_.back().fill(0.5f);
    }
  }
}

double ProductBench::run() {
  using kernels::Transpose;
  Stopwatch clock;
  pool_.run([&](int thread, Recorder&) {
    AlignedBuffer<float>* m = &matrices_[static_cast<std::size_t>(thread) * 3];
    kernels::multiply(
        products_, {Transpose::kNo, Transpose::kNo, size_, size_, size_, 1.0f, m[0].data(), size_,
                    m[1].data(), size_, 0.0f, m[2].data(), size_});
  });
  const auto n = static_cast<double>(size_);
  return 2 * n * n * n * pool_.size() / clock.lap();
}

double register_peak(ThreadPool& pool) {
  std::vector<double> peaks(static_cast<std::size_t>(pool.size()));
  pool.run([&](int thread, Recorder&) {
    peaks[static_cast<std::size_t>(thread)] = kernels::register_peak();
  });
  return std::accumulate(peaks.begin(), peaks.end(), 0.0);
}

void declare_step_options(CLI::App& app, TrainSettings& s) {
  declare_machine_options(app, s);
  declare_model_options(app, s);
  declare_part_options(app, s);
  add_option(app, "--vocabulary", s.shape.vocabulary,
             "tokens of the vocabulary [the published one; 4096 for medium, else 256]")
      ->type_name("N");
  declare_optimizer_options(app, s);
  add_option(app, "--batch", s.batch, "sequences of a step, over all ranks")
      ->type_name("N")
      ->capture_default_str();
  add_option(app, "--micro-batch", s.micro_batch,
             "sequences of a micro-batch [from batch and context]")
      ->type_name("N");
  add_option(app, "--token-block,--row-block", s.token_block,
             "positions that one thread of a team takes at a time [from batch]")
      ->type_name("N");
  add_option(app, "--reduce", s.reduce, reduce_format(),
             "how gradients are added up: exact gives the same bits on any number of ranks and "
             "threads");
}

void resolve_step(const CLI::App& app, TrainSettings& s) {
  resolve(app, s);
  if (s.shape.vocabulary == 0) s.shape.vocabulary = default_vocabulary(s.preset);
  resolve_bands(app, s);
  model::validate(s.shape);
  check_recompute(s.recompute, model::Layout(s.shape));
  s.token_block = std::min(s.token_block, s.micro_batch * s.shape.context);
}

StepBench::StepBench(const TrainSettings& s, const Machine& machine,
                     ranks::ProcessGroup& process_group) {
  ranks::in_agreement(process_group, [&] {
    text_.resize(std::max<std::size_t>(kBatchesOfText * s.batch, 2) * s.shape.context + 1);
    RandomStream random(1, 0);
    for (std::uint32_t& token : text_) {
      token = static_cast<std::uint32_t>(random.below(s.shape.vocabulary));
    }
    model_.emplace(s.shape, machine.kernels);
    sequences_.emplace(data::TokenView(std::span<const std::uint32_t>(text_)),
                       data::WindowSampler(1, text_.size(), s.shape.context));
    trainer_.emplace(*model_, machine.kernels, trainer_options(s, machine.threads), *sequences_,
                     process_group);
    state_.emplace(model_->layout(), train::find_optimizer(s.optimizer.name).buffers,
                   machine.threads, trainer_->ownership());
    model::initialize(model_->layout(), 1, state_->parameters.span(), machine.threads);
  });
}

StepSeconds measure_step(const TrainSettings& settings, const Machine& machine,
                         ranks::ProcessGroup& process_group) {
  return measure(settings, machine, process_group, process_group);
}

StepSeconds measure_step_alone(const TrainSettings& settings, const Machine& machine,
                               ranks::ProcessGroup& process_group) {
  TrainSettings share = settings;
  const auto ranks = static_cast<std::size_t>(process_group.size());
  const std::size_t micro_batches =
      (train::count_micro_batches(settings.batch, settings.micro_batch) + ranks - 1) / ranks;
  share.batch = std::min(settings.batch, micro_batches * settings.micro_batch);
  ranks::SingleProcess alone;
  return measure(share, machine, alone, process_group);
}

}  // namespace cllm::cli
