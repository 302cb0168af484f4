#pragma once

#include <CLI/CLI.hpp>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cllm/base/aligned_buffer.h"
#include "cllm/base/thread_pool.h"
#include "cllm/cli/machine/machine.h"
#include "cllm/cli/run/settings.h"
#include "cllm/data/sequences.h"
#include "cllm/kernels/products.h"
#include "cllm/model/model.h"
#include "cllm/ranks/process_group.h"
#include "cllm/train/trainer.h"

namespace cllm::cli {

/// The middle one of at least one value; of an even number the upper one.
double median(std::vector<double> values);

/// FLOP/s of a thread pool's threads, each multiplying matrices of its own at the same time.
class ProductBench {
 public:
  /// `size`: rows and columns of each matrix. The thread pool must outlive it.
  ProductBench(ThreadPool& pool, std::size_t size, const kernels::Products& products);
  double run();

 private:
  ThreadPool& pool_;
  std::size_t size_;
  const kernels::Products& products_;
  std::vector<AlignedBuffer<float>> matrices_;  // three for each thread
};

/// The sum over the threads of kernels::register_peak, all at the same time.
double register_peak(ThreadPool& pool);

/// Tokens that a model of the preset is measured with where nothing else is asked for.
std::uint64_t default_vocabulary(const std::string& preset);

/// Declares the options of a training step: model, batch and machine.
void declare_step_options(CLI::App& app, TrainSettings& settings);

/// Puts into them what was not asked for. Throws Error, naming the option.
void resolve_step(const CLI::App& app, TrainSettings& settings);

/// Training steps of a model on random tokens. All ranks make and use it alike.
class StepBench {
 public:
  /// `settings` after `resolve_step`. The references must outlive it. Throws ReplicatedError.
  StepBench(const TrainSettings& settings, const Machine& machine,
            ranks::ProcessGroup& process_group);

  train::StepReport step() { return trainer_->step(*state_); }
  train::Trainer& trainer() { return *trainer_; }
  const model::Layout& layout() const { return model_->layout(); }

 private:
  std::vector<std::uint32_t> text_;
  std::optional<model::Model> model_;
  std::optional<train::State> state_;
  std::optional<data::Sequences> sequences_;
  std::optional<train::Trainer> trainer_;
};

/// What a training step takes: medians, of the slowest rank.
struct StepSeconds {
  double all = 0, compute = 0, update = 0;
  double exposed = 0, hidden = 0;  ///< communication that computation waited for, or didn't
};

/// Of some steps, over a few seconds. All ranks call it alike.
StepSeconds measure_step(const TrainSettings& settings, const Machine& machine,
                         ranks::ProcessGroup& process_group);

/// The same while each rank computes its share of the batch for itself, as if it were alone.
StepSeconds measure_step_alone(const TrainSettings& settings, const Machine& machine,
                               ranks::ProcessGroup& process_group);

}  // namespace cllm::cli
