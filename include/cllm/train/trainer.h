#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "cllm/base/slab.h"
#include "cllm/data/sampler.h"
#include "cllm/data/token_file.h"
#include "cllm/kernels/kernels.h"
#include "cllm/model/gpt.h"
#include "cllm/train/batch.h"
#include "cllm/train/collective.h"
#include "cllm/train/loss_sum.h"
#include "cllm/train/optimizer.h"
#include "cllm/train/schedule.h"
#include "cllm/train/state.h"

namespace cllm::train {

struct TrainerOptions {
  AdamWOptions optimizer;
  Schedule schedule;
  std::size_t batch = 12;       ///< sequences of a step, over all ranks
  std::size_t micro_batch = 1;  ///< sequences of a unit; divides batch
  int threads = 1;              ///< of this rank
};

/// What a step did, the same on every rank but for the seconds.
struct StepReport {
  double loss;           ///< mean over the global batch before the update, nats per token
  double rate;           ///< learning rate
  double gradient_norm;  ///< before clipping
  double compute_seconds;
  double communication_seconds;
  double update_seconds;
};

/// Takes training steps: this rank's part of them. All ranks call the same functions in the same
/// order; one thread at a time.
class Trainer {
 public:
  /// The references must outlive the trainer. Allocates everything that a step needs.
  /// Throws Error for options that make no sense, std::bad_alloc.
  Trainer(const model::Gpt& gpt, const kernels::Kernels& kernels, const TrainerOptions& options,
          data::TokenView tokens, const data::WindowSampler& sampler, Collective& collective);

  /// One step on all ranks. Throws ReplicatedError where the loss is not a number; the state is
  /// then what it was.
  StepReport step(State& state);

 private:
  /// What one thread owns.
  struct Worker {
    model::Workspace workspace;
    Slab<float> gradient;
    Slab<std::uint32_t> window;   // (T + 1)
    Slab<std::uint32_t> inputs;   // (micro_batch, T)
    Slab<std::uint32_t> targets;  // (micro_batch, T)
    LossSum loss;
  };

  void forward_backward(const State& state);
  model::Unit read_unit(std::size_t unit, std::uint64_t step, Worker& worker) const;
  void sum_workers();
  std::span<float> gradient() { return workers_.front().gradient.span(); }

  const model::Gpt& gpt_;
  const kernels::Kernels& kernels_;
  TrainerOptions options_;
  data::TokenView tokens_;
  const data::WindowSampler& sampler_;
  Collective& collective_;
  Share units_;  // of this rank
  std::vector<Worker> workers_;
  Slab<double> norm_parts_;
};

}  // namespace cllm::train
