#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "cllm/base/aligned_buffer.h"
#include "cllm/base/thread_pool.h"
#include "cllm/data/sequences.h"
#include "cllm/kernels/kernels.h"
#include "cllm/model/model.h"
#include "cllm/ranks/process_group.h"
#include "cllm/train/batch.h"
#include "cllm/train/gradient_accumulator.h"
#include "cllm/train/group_norms.h"
#include "cllm/train/loss_sum.h"
#include "cllm/train/optimizer.h"
#include "cllm/train/ownership.h"
#include "cllm/train/parameter_exchange.h"
#include "cllm/train/reducer.h"
#include "cllm/train/row_exchange.h"
#include "cllm/train/scales.h"
#include "cllm/train/schedule.h"
#include "cllm/train/spike_detector.h"
#include "cllm/train/state.h"
#include "cllm/train/work_sharing.h"

namespace cllm::train {

struct TrainerOptions {
  OptimizerOptions optimizer;
  Schedule schedule;
  std::size_t batch = 12;       ///< sequences of a step, over all ranks
  std::size_t micro_batch = 1;  ///< sequences of a micro-batch; the last one may have fewer
  std::size_t token_block =
      128;  ///< positions of a micro-batch that one thread of a team takes at a time
  std::size_t recompute = 0;  ///< layers whose activations are computed again in backward
  bool shard = false;         ///< between ranks, where there are several: Note [Sharded state]
  Reduce reduce = Reduce::kExact;
  OnSpike on_spike = OnSpike::kClip;
  double spike_factor = 10;       ///< see SpikeDetector
  int threads = 1;                ///< of this rank
  int team = 0;                   ///< threads that share a micro-batch; 0 for what ends soonest
  std::size_t trace_events = 0;   ///< room of each thread's recorder
  std::uint64_t norms_every = 0;  ///< steps between measurements of GroupNorms; 0 for none
};

/// What came of a step.
enum class Outcome {
  kUpdated,
  kClipped,  ///< updated with a gradient that was far too large, scaled down to a usual size
  kSkipped,  ///< counted, but for a gradient that can't be used the parameters stay
  kRefused,  ///< such a gradient; the state is what it was, and the caller has to decide
  kEmpty,    ///< counted, but no target of the batch counts, so there is no gradient
};

/// What a step did, the same on every rank but for the seconds.
struct StepReport {
  /// Mean over the targets of the global batch that count, before the update, nats per token; may
  /// be NaN.
  double loss;
  double learning_rate;
  double gradient_norm;  ///< before clipping; may be infinite or NaN
  double compute_seconds;
  double communication_seconds;         ///< that computation waited for
  double hidden_communication_seconds;  ///< that went on while it did not wait
  double update_seconds;
  Outcome outcome = Outcome::kUpdated;
  /// Names of tensors whose gradient was too large for its scale, so that the step was taken again.
  std::vector<std::string> overflowed = {};
  /// Targets that counted, where not all did.
  std::optional<std::uint64_t> targets = {};
  /// Where they were measured, and parameters changed; until the next step.
  const GroupNorms* norms = nullptr;

  double seconds() const { return compute_seconds + communication_seconds + update_seconds; }
};

/// Takes training steps: this rank's part of them. All ranks call the same functions in the same
/// order; one thread at a time.
class Trainer {
 public:
  /// The references must outlive the trainer. Allocates everything that a step needs.
  /// Throws Error for options that make no sense, std::bad_alloc.
  Trainer(const model::Model& model, const kernels::Kernels& kernels, const TrainerOptions& options,
          const data::Sequences& sequences, ranks::ProcessGroup& process_group);

  /// One step on all ranks. With shards, parameters of other ranks may be on their way when it
  /// returns: the next step waits for them, and anything else must `complete` them first.
  StepReport step(State& state);

  /// Waits for parameters that are on their way; all ranks call it alike.
  void complete() { exchange_.run(); }

  /// What each rank owns with such options, before there is a trainer.
  static Ownership ownership_of(const model::Layout& layout, const TrainerOptions& options,
                                const ranks::ProcessGroup& process_group);
  const Ownership& ownership() const { return ownership_; }

  /// Bytes of the workspaces of this rank's teams and the scratches of its threads.
  static std::uint64_t thread_bytes(const model::Network& network, const TrainerOptions& options,
                                    const ranks::ProcessGroup& process_group);

  /// Bytes of this rank's sums of gradients.
  static std::uint64_t sums_bytes(const model::Layout& layout, const TrainerOptions& options,
                                  const ranks::ProcessGroup& process_group);

  /// Sequences of a step, over all ranks.
  std::size_t batch() const { return options_.batch; }
  /// Sizes of this rank's teams.
  std::vector<int> teams() const;
  /// Of the compute threads.
  ThreadPool& pool() { return pool_; }
  /// Of the communication thread.
  Recorder& communication_recorder() { return reducer_.recorder(); }
  /// The groups of a bucket: "head", or "h.3 to h.0".
  std::string bucket_name(std::size_t bucket) const;

 private:
  /// Threads that take micro-batches together, and what they share.
  struct TeamData {
    TeamData(int size, const model::Network& network, const TrainerOptions& options,
             bool has_begins);

    Team threads;
    model::Workspace workspace;
    AlignedBuffer<std::uint32_t> inputs;   // (micro_batch, T)
    AlignedBuffer<std::uint32_t> targets;  // (micro_batch, T)
    AlignedBuffer<std::uint32_t> begins;   // (micro_batch, T), where attention keeps to documents
    std::size_t micro_batch = 0;           // of this rank, that is being taken
    LossSum loss;
  };
  /// A thread's place, and what it has for itself.
  struct Seat {
    std::size_t team;
    int index;
    model::Scratch scratch;
  };

  void look_ahead(std::uint64_t begin);
  bool sum_gradient(State& state, StepReport& report);
  void fold_tokens();
  bool find_scales(State& state, StepReport& report);
  Outcome outcome_of(const StepReport& report, const State& state) const;
  StepReport pass_over(State& state, StepReport report) const;
  /// (V) of the global batch: not 0 where it has the token as an input.
  std::span<const std::int32_t> batch_tokens() const {
    return batch_tokens_.span().first(batch_tokens_.size() - 1);
  }
  double scale_of(const StepReport& report, const State& state) const;
  void count(const StepReport& report, State& state) const;
  void advance(State& state) const;
  void forward_backward(const State& state) noexcept;
  void take_micro_batches(TeamData& team, Seat& seat, Recorder& recorder, const State& state);
  std::size_t next_micro_batch(std::size_t team, std::size_t turn);
  Share sequences_of_micro_batch(std::size_t micro_batch) const;
  std::span<const std::int64_t> gather_totals(LossSum& loss);

  const model::Model& model_;
  TrainerOptions options_;
  BatchReader reader_;
  ranks::ProcessGroup& process_group_;
  Share micro_batches_;  // of this rank
  ThreadPool pool_;
  std::vector<std::unique_ptr<TeamData>> teams_;
  std::vector<std::unique_ptr<Seat>> seats_;  // of threads; null where a thread has no micro-batch
  std::atomic<std::size_t> next_micro_batch_{0};
  SpikeDetector spike_detector_;
  std::vector<std::int32_t> scales_before_;  // the step
  std::vector<Bucket> buckets_;
  Ownership ownership_;
  GradientAccumulator sums_;
  ParameterExchange exchange_;
  Reducer reducer_;
  RowChunks rows_;
  RowExchange row_exchange_;
  GradientNorm norm_;
  GroupNorms group_norms_;
  std::unique_ptr<Optimizer> optimizer_;
  bool counts_all_;                           // every target of every sequence
  std::uint64_t targets_ = 0;                 // of the global batch, that count
  AlignedBuffer<std::int32_t> batch_tokens_;  // (V + 1), see batch_tokens(); then what counts
  AlignedBuffer<std::int64_t> totals_;        // losses, then sizes of contributions to each tile
};

}  // namespace cllm::train
