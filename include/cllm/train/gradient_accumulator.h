#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <span>
#include <vector>

#include "cllm/base/aligned_buffer.h"
#include "cllm/kernels/kernels.h"
#include "cllm/model/model.h"
#include "cllm/ranks/process_group.h"
#include "cllm/train/buckets.h"
#include "cllm/train/gradient_norm.h"
#include "cllm/train/integer_sums.h"
#include "cllm/train/ownership.h"
#include "cllm/train/scales.h"

namespace cllm::train {

/// What the bound on a row's integers comes to on a rank, mostly, before ranks add theirs: its
/// share of `micro_batches`, those of the global batch, is `local`. See IntegerSums.
double usual_bound(std::size_t micro_batches, std::size_t local);

/// The gradient of the global batch as it is added up: micro-batches to the node's sum, nodes to
/// the cluster's. Integers or floats, as Reduce says.
///
/// Note [Token rows]
///
/// The tied token embedding gets its gradient from two sides: from the head when backward begins,
/// dense, and from the inputs when it ends, a few rows. Waiting for the latter would keep a third
/// of GPT-2's gradient back until nothing is left to hide its allreduce behind. So the inputs' rows
/// are summed apart, in compact rows of the tokens that the global batch has (every rank knows
/// them, because the sampler is a pure function), and are added to the table's at the end. Where
/// the head has a matrix of its own these rows are all: the table is in no bucket, is never sent,
/// and is 0 but for what was added at the end. A row is as wide as its band of the table.
class GradientAccumulator {
 public:
  /// What is to be summed in a step.
  struct Shape {
    std::size_t local_micro_batches;  ///< of this rank
    std::size_t head_passes;  ///< contributions of a micro-batch to each tile of the head's tables
    std::size_t last_head_passes;  ///< the same of this rank's last micro-batch
    std::size_t batch_tokens;      ///< inputs of the global batch
  };

  /// The references must outlive it. `buckets`: of buckets_of. `ownership`: of the same buckets.
  /// Throws std::bad_alloc.
  GradientAccumulator(const model::Model& model, const kernels::Kernels& kernels, Reduce reduce,
                      const Shape& shape, std::vector<Bucket> buckets, const Ownership& ownership);

  /// Forgets all sums. `tokens` (V) is not 0 for those that the global batch has, or 0 for all
  /// where the token embedding isn't trained; `exponents` are those of Note [Exact sums], one for
  /// each row of the tiling, and stay where they are until the step ends.
  void begin(std::span<const std::int32_t> tokens, std::span<const std::int32_t> exponents);

  /// What one micro-batch adds. `micro_batch` counts this rank's micro-batches from 0.
  class MicroBatchSink final : public model::GradientSink {
   public:
    MicroBatchSink(GradientAccumulator& sums, std::size_t micro_batch)
        : sums_(sums), micro_batch_(micro_batch) {}
    void add(std::size_t tile, std::size_t pass, const float* values, std::size_t stride,
             Recorder& recorder) override;
    void begin_tokens(std::size_t range, Recorder& recorder) override;
    void add_token(std::uint32_t token, const float* row) override;
    void end_tokens(std::size_t range) override;

   private:
    GradientAccumulator& sums_;
    std::size_t micro_batch_;
  };

  std::span<const Bucket> buckets() const { return buckets_; }
  /// Returns once this rank's micro-batches have all been added to the bucket.
  void wait_complete(std::size_t bucket);
  /// Adds the other ranks' bucket, with shards to what this rank owns of it. All ranks take the
  /// buckets in order.
  void reduce(std::size_t bucket, ranks::ProcessGroup& process_group);

  /// Adds the token rows to the table's, after the last bucket was reduced; with shards, to those
  /// of rows that this rank owns. Thread `index` of `threads`, each its part.
  void fold_tokens(int index, int threads);

  /// The sum of this rank's contributions' sizes to each tile, see IntegerSums::kMostSize.
  void sizes(std::span<std::int64_t> result) const;

  /// The whole sum, once every bucket is reduced and the token rows are folded.
  SummedGradient gradient() { return {floats_.data(), &integers_, exponents_}; }

  /// Bytes that one allocates. `micro_batches`: of the global batch.
  static std::size_t bytes_for(const model::Layout& layout, Reduce reduce, const Shape& shape,
                               std::size_t micro_batches);

 private:
  /// A part of the sums that one thread at a time adds to.
  struct alignas(64) Turnstile {
    std::mutex mutex;
    std::atomic<std::uint32_t> passed{0};  // contributions that were added
  };

  /// Tokens from `first` to before `end`.
  struct Tokens {
    std::uint32_t first, end;
  };

  static Tokens tokens_of(const model::Layout& layout, const Ownership& ownership,
                          std::size_t rank);
  /// Lets the contribution with number `turn` in: with floats, in the order of micro-batches; with
  /// integers, whoever comes.
  void enter(Turnstile& part, std::size_t turn, Recorder& recorder);
  void leave(Turnstile& part);
  void count_down(std::size_t bucket);
  /// Whether the tensor is a band of the embedding whose gradient is token rows alone.
  bool is_rows_alone(std::size_t tensor) const;
  void zero(std::size_t begin, std::size_t end);
  /// The rows of the table that the last step's token rows were added to.
  void zero_folded_rows();
  /// Deals the token rows of this step to the owners of their table rows.
  void deal_token_rows();
  /// The tiles of the table that have the token's row, side by side.
  std::span<const model::Tile> tiles_of(std::uint32_t token) const;
  /// Adds to what is kept at `place` of a row of the tiling. Returns the contribution's size.
  std::int64_t put(std::size_t row, const SumRow& place, const float* values, bool first);

  const model::Model& model_;
  const kernels::Kernels& kernels_;
  Reduce reduce_;
  Shape shape_;
  std::vector<Bucket> buckets_;
  std::vector<std::size_t> bucket_of_;           // per tensor
  std::vector<std::int64_t> contributions_;      // per bucket, of this rank in a step
  std::vector<std::atomic<std::int64_t>> left_;  // of those
  std::vector<Turnstile> tiles_;
  std::vector<Turnstile> ranges_;
  std::vector<std::atomic<std::int64_t>> sizes_;  // per tile
  std::vector<bool> is_head_;                     // per tensor: a table of the head

  const Ownership& ownership_;
  /// Of each bucket but for token rows, the parts by ranks from its first element on; none without
  /// shards.
  std::vector<std::vector<ranks::Part>> parts_;
  std::vector<ranks::Part> token_parts_;  // the same of the token rows
  std::vector<Tokens> own_tokens_;        // by ranks

  std::span<const std::int32_t> exponents_;
  std::vector<std::uint32_t> tokens_;     // of the global batch, in the order of rows
  Tokens folded_;                         // places in it of those that this rank folds
  std::vector<std::uint32_t> token_row_;  // (V): the first of a token's rows in rows_

  // Of the tiling; behind them those of compact rows, each as many as its table is wide.
  std::vector<SumRow> rows_;

  // The trained tensors of a flat buffer of the layout, and behind them the token rows.
  AlignedBuffer<float> floats_;
  IntegerSums integers_;
};

}  // namespace cllm::train
