#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "cllm/model/layout.h"
#include "cllm/ranks/process_group.h"
#include "cllm/train/buckets.h"

namespace cllm::train {

/// Note [Sharded state]
///
/// Ranks need not all do the same update: with shards (ZeRO's first stage: Rajbhandari et al.,
/// "ZeRO: Memory optimizations toward training trillion parameter models", SC 2020) each trained
/// element has one owner, which alone has the sum of its gradient, keeps what the optimizer has for
/// it, and updates it. A sum over ranks becomes its first half, a reduce-scatter, after which each
/// owner has its part; the updated parameters go to all in an all-gather, which is the second half:
/// what is sent is as much as before, the optimizer's state and time are divided by the ranks, and
/// as every element goes through the same operations, bits stay as they are.
///
/// In each bucket a rank owns one contiguous part, of whole rows of tensors, or of whole matrices
/// where the optimizer needs them. Ranks have about as much to do in all, not in every bucket.
///
/// Parameters travel while the next step's forward has begun: a layer waits for its own bucket.

/// Which rank owns which trained elements of a flat buffer. Follows from shapes and the number of
/// ranks alone. Immutable, so thread-safe.
class Ownership {
 public:
  /// Each rank does all: no shards.
  explicit Ownership(const model::Layout& layout);
  /// Shards among so many ranks, as `rank` sees them. `keeps_whole`: whether the optimizer takes
  /// the matrices between activations of a role whole; a row of any other tensor may go to any
  /// rank.
  Ownership(const model::Layout& layout, std::span<const Bucket> buckets,
            bool (*keeps_whole)(model::Role), int ranks, int rank);

  bool is_sharded() const { return !parts_.empty(); }
  /// That share; 0 without shards.
  std::size_t ranks() const { return is_sharded() ? parts_.front().size() : 0; }
  std::size_t rank() const { return rank_; }

  /// The parts of a bucket, by ranks; none without shards. Token rows (Note [Token rows]) are not
  /// in them: they are their table rows' owners'.
  std::span<const ranks::Part> bucket(std::size_t bucket) const;
  /// The same of the token embedding where it is in no bucket.
  std::span<const ranks::Part> table() const;

  /// The elements of a tensor that this rank owns, in a flat buffer.
  const ranks::Part& own(std::size_t tensor) const { return own_[tensor]; }
  /// The same of another rank.
  ranks::Part of(std::size_t rank, std::size_t tensor) const;
  bool owns(std::size_t tensor, std::size_t at) const {
    return at >= own_[tensor].offset && at - own_[tensor].offset < own_[tensor].size;
  }

 private:
  const model::Layout* layout_;
  std::size_t rank_ = 0;
  std::vector<std::vector<ranks::Part>> parts_;  // of buckets, then of the table alone, by ranks
  std::vector<std::size_t> region_of_;           // per tensor, in parts_
  std::vector<ranks::Part> own_;                 // per tensor
};

}  // namespace cllm::train
