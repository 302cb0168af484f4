#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <future>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "cllm/base/thread_pool.h"
#include "cllm/io/checkpoint.h"
#include "cllm/model/layout.h"
#include "cllm/train/state.h"
#include "cllm/train/state_gathering.h"

namespace cllm::train {

struct CheckpointOptions {
  std::filesystem::path directory;
  std::uint64_t keep = 0;  ///< newest ones to keep, beside the best; 0 for all
  /// The newest one of a step that this divides is kept too; 0 for none.
  std::uint64_t base_steps = 0;
  /// Whether training goes on while a copy of the state is written. The copy takes memory.
  bool background = true;
  /// With shards, what the other ranks hand over; it must outlive the writer.
  StateGathering* gathering = nullptr;
};

/// What came of a checkpoint.
struct SavedCheckpoint {
  std::filesystem::path path;
  std::uint64_t step;
  std::uint64_t bytes = 0;
  double pause_seconds = 0;  ///< that training stood still
  double write_seconds = 0;  ///< until it was on the disk
  double seconds = 0;        ///< in all: it was also read again and checked
  std::string warning = {};  ///< a sentence: it is saved, but an older one could not be removed
  std::vector<std::filesystem::path> removed = {};  ///< older ones
  std::string problem = {};                         ///< a sentence; empty when all went well
};

/// Writes the checkpoints of a run, on rank 0. One thread at a time may call it, and nobody else
/// may use HDF5 between `save` and `wait`.
///
/// Note [Checkpoint order]. A checkpoint is written under another name, synced, read again and
/// every digest checked, renamed, and its directory synced; then `latest` names it; only then older
/// ones go. A crash at any point leaves a whole checkpoint, and the newest that was complete.
class CheckpointWriter {
 public:
  /// `buffers`: those of the states that are saved. `run`: all of the run that stays as it is; what
  /// its JSON `state` has more than state_to_json puts there. `before` is called before each
  /// checkpoint appears, on the writing thread. The references must outlive the writer. Throws
  /// Error, std::bad_alloc.
  CheckpointWriter(const CheckpointOptions& options, const model::Layout& layout,
                   std::span<const BufferSpec> buffers, ThreadPool& pool, const io::RunState& run,
                   std::function<void()> before);
  CheckpointWriter(const CheckpointWriter&) = delete;
  CheckpointWriter& operator=(const CheckpointWriter&) = delete;
  /// Waits.
  ~CheckpointWriter() = default;

  /// Bytes of the copy of a state that a rank makes, to hand it over or to write it.
  static std::uint64_t copy_bytes(const model::Layout& layout, std::span<const BufferSpec> buffers,
                                  const Ownership& ownership, int rank);
  /// Bytes of a checkpoint, nearly.
  static std::uint64_t checkpoint_bytes(const model::Layout& layout,
                                        std::span<const BufferSpec> buffers);

  /// Writes the state as it is now. In the background, returns once it is copied; waits before for
  /// the last one to be written.
  void save(const State& state);
  /// What was completed since the last call, or failed.
  std::vector<SavedCheckpoint> take_reports();
  /// Returns once nothing is being written.
  void wait();

  /// Sets aside what is newer than `step`: the run went back, and goes on otherwise. Returns a
  /// sentence for each. Throws Error.
  std::vector<std::string> forget_after(std::uint64_t step);
  /// Where the checkpoint of a step is, or would be.
  std::filesystem::path path_of(std::uint64_t step) const;

  /// Seconds that the next one will take, as the last one did; a guess before there was one.
  double expected_seconds() const { return expected_seconds_; }

 private:
  SavedCheckpoint write(const State& state);
  std::vector<io::StateSource> sources_of(std::span<const StateBuffer> buffers);
  void finish(SavedCheckpoint& saved);
  void retire_old(SavedCheckpoint& saved);

  CheckpointOptions options_;
  const model::Layout& layout_;
  ThreadPool& pool_;
  io::RunState run_;         // as of the checkpoint that was written last
  const std::string facts_;  // JSON: of its state, what doesn't change
  std::function<void()> before_;
  std::optional<State> copy_;
  /// Validation losses of the checkpoints in the directory, by step; infinite where there is none.
  std::map<std::uint64_t, double> losses_;
  double expected_seconds_;
  std::vector<SavedCheckpoint> reports_;
  std::future<SavedCheckpoint> writing_;  // last, so that it ends before what it uses
};

}  // namespace cllm::train
