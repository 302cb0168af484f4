#pragma once

#include <cstddef>
#include <future>
#include <memory>
#include <span>
#include <vector>

#include "cllm/base/thread_pool.h"
#include "cllm/io/checkpoint.h"
#include "cllm/model/layout.h"
#include "cllm/ranks/courier.h"
#include "cllm/ranks/process_group.h"
#include "cllm/train/ownership.h"
#include "cllm/train/state.h"

namespace cllm::train {

/// Gives rank 0 what the optimizers of all ranks keep with shards, tensor by tensor and in pieces
/// of bounded size, so that it never has all of it. Rank 0 asks, the others answer, and training
/// may go on meanwhile. One thread of each rank at a time.
class StateGathering {
 public:
  /// All ranks together. The references must outlive it.
  StateGathering(const model::Layout& layout, const Ownership& ownership,
                 ranks::ProcessGroup& process_group);

  const Ownership& ownership() const { return ownership_; }

  /// On rank 0, while all others `serve`: gives all values of a tensor in the buffer of that
  /// number, in their order. `own`: what this rank has.
  void give(std::span<const StateBuffer> own, std::size_t buffer, std::size_t tensor,
            const io::TakeFloats& take);
  /// On rank 0: lets the others go on.
  void end();
  /// On all others: answers rank 0 until it ends.
  void serve(std::span<const StateBuffer> own);

 private:
  const model::Layout& layout_;
  const Ownership& ownership_;
  int ranks_;
  std::unique_ptr<ranks::Courier> courier_;
  std::vector<float> piece_;
};

/// What ranks other than 0 do when a checkpoint is saved with shards: they hand over what they own
/// of the optimizer's state as it is then. One thread at a time.
class StateSender {
 public:
  /// `background`: training goes on while a copy is handed over. The references must outlive it.
  /// Throws std::bad_alloc.
  StateSender(StateGathering& gathering, const model::Layout& layout,
              std::span<const BufferSpec> buffers, ThreadPool& pool, bool background);

  /// In the background, returns once the state is copied; waits before for the last one.
  void save(const State& state);
  /// Returns once nothing is being handed over. Throws what the courier threw.
  void wait();

 private:
  StateGathering& gathering_;
  ThreadPool& pool_;
  std::vector<StateBuffer> copies_;  // none where it isn't in the background
  std::future<void> serving_;        // last, so that it ends before what it uses
};

}  // namespace cllm::train
