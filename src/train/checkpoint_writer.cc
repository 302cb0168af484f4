#include "cllm/train/checkpoint_writer.h"

#include <algorithm>
#include <chrono>
#include <exception>
#include <limits>
#include <set>
#include <system_error>
#include <utility>

#include "cllm/base/error.h"
#include "cllm/base/fail_point.h"
#include "cllm/base/stopwatch.h"
#include "cllm/io/run_directory.h"
#include "cllm/train/saved_state.h"

namespace cllm::train {
namespace {

namespace fs = std::filesystem;

/// Bytes a second that a checkpoint is guessed to take before one was written.
constexpr double kGuessedSpeed = 100e6;

constexpr double kNoLoss = std::numeric_limits<double>::infinity();

void copy(const State& from, State& to, ThreadPool& pool) {
  const std::vector<std::span<const float>> sources = from.floats();
  const std::vector<std::span<float>> targets = to.floats();
  for (std::size_t b = 0; b < sources.size(); ++b) train::copy(sources[b], targets[b], pool);
  static_cast<StateValues&>(to) = from;
}

/// The validation loss that a checkpoint's state has; infinite where it has none, or can't be read.
double loss_of(const fs::path& checkpoint) {
  try {
    const io::RunState run = io::read_run_state(checkpoint);
    StateValues values;
    state_from_json(run.state, checkpoint.string(), io::layout_of(run), values);
    return values.validation ? values.validation->loss : kNoLoss;
  } catch (const Error&) {
    return kNoLoss;
  }
}

}  // namespace

CheckpointWriter::CheckpointWriter(const CheckpointOptions& options, const model::Layout& layout,
                                   std::span<const BufferSpec> buffers, ThreadPool& pool,
                                   const io::RunState& run, std::function<void()> before)
    : options_(options),
      layout_(layout),
      pool_(pool),
      run_(run),
      facts_(run.state),
      before_(std::move(before)),
      expected_seconds_(static_cast<double>(checkpoint_bytes(layout, buffers)) / kGuessedSpeed) {
  const StateGathering* const gathering = options.gathering;
  if (options.background) {
    copy_.emplace(layout, buffers, 1,
                  gathering != nullptr ? gathering->ownership() : Ownership(layout));
  }
  if (options.keep == 0) return;
  for (const fs::path& path : io::list_checkpoints(options.directory)) {
    losses_[*io::step_in_name(path)] = loss_of(path);
  }
}

std::uint64_t CheckpointWriter::copy_bytes(const model::Layout& layout,
                                           std::span<const BufferSpec> buffers,
                                           const Ownership& ownership, int rank) {
  const bool writes = rank == 0;
  return (writes ? layout.flat_size() * sizeof(float) : 0) +
         (writes || ownership.is_sharded() ? bytes_of(layout, buffers, ownership) : 0);
}

std::uint64_t CheckpointWriter::checkpoint_bytes(const model::Layout& layout,
                                                 std::span<const BufferSpec> buffers) {
  return copy_bytes(layout, buffers, Ownership(layout), 0);
}

void CheckpointWriter::save(const State& state) {
  const Stopwatch pause;
  wait();
  if (!options_.background) {
    SavedCheckpoint saved = write(state);
    saved.pause_seconds = pause.elapsed();
    expected_seconds_ = saved.seconds;
    reports_.push_back(std::move(saved));
    return;
  }
  copy(state, *copy_, pool_);
  const double seconds = pause.elapsed();
  writing_ = std::async(std::launch::async, [this, seconds] {
    SavedCheckpoint saved = write(*copy_);
    saved.pause_seconds = seconds;
    return saved;
  });
}

std::vector<SavedCheckpoint> CheckpointWriter::take_reports() {
  if (writing_.valid() && writing_.wait_for(std::chrono::seconds(0)) == std::future_status::ready) {
    wait();
  }
  return std::exchange(reports_, {});
}

void CheckpointWriter::wait() {
  if (!writing_.valid()) return;
  reports_.push_back(writing_.get());
  expected_seconds_ = reports_.back().pause_seconds + reports_.back().seconds;
}

SavedCheckpoint CheckpointWriter::write(const State& state) {
  SavedCheckpoint saved{.path = path_of(state.step), .step = state.step};
  const Stopwatch clock;
  try {
    before_();
    run_.step = state.step;
    run_.tokens_seen = state.tokens_seen;
    run_.state = state_to_json(state, facts_);
    const std::vector<io::StateSource> sources = sources_of(state.buffers);
    const double checked =
        io::write_checkpoint(saved.path, run_, layout_, state.parameters.span(), sources);
    saved.write_seconds = clock.elapsed() - checked;
    saved.bytes = fs::file_size(saved.path);
    losses_[state.step] = state.validation ? state.validation->loss : kNoLoss;
    finish(saved);
    fail_point("checkpoint.done");
  } catch (const std::exception& error) {
    saved.problem = error.what();
  }
  if (options_.gathering != nullptr) options_.gathering->end();
  saved.seconds = clock.elapsed();
  return saved;
}

/// Of this rank, or of all where it has but its own.
std::vector<io::StateSource> CheckpointWriter::sources_of(std::span<const StateBuffer> buffers) {
  std::vector<io::StateSource> sources;
  for (std::size_t i = 0; i < buffers.size(); ++i) {
    const StateBuffer& buffer = buffers[i];
    sources.push_back({buffer.name(), [&buffer](std::size_t tensor) { return buffer.has(tensor); },
                       [this, buffers, i](std::size_t tensor, const io::TakeFloats& take) {
                         if (options_.gathering == nullptr) return take(0, buffers[i].of(tensor));
                         options_.gathering->give(buffers, i, tensor, take);
                       }});
  }
  return sources;
}

/// What is left to do when a checkpoint is saved. Should that fail, it is saved all the same.
void CheckpointWriter::finish(SavedCheckpoint& saved) {
  try {
    io::set_newest_checkpoint(saved.path);
    if (options_.keep > 0) retire_old(saved);
  } catch (const Error& error) {
    saved.warning = error.what();
  }
}

std::vector<std::string> CheckpointWriter::forget_after(std::uint64_t step) {
  wait();
  losses_.erase(losses_.upper_bound(step), losses_.end());
  return io::set_newer_aside(options_.directory, step);
}

fs::path CheckpointWriter::path_of(std::uint64_t step) const {
  return options_.directory / io::checkpoint_name(step);
}

/// Removes all but the newest, the best, and the newest base.
void CheckpointWriter::retire_old(SavedCheckpoint& saved) {
  std::set<std::uint64_t> kept = {saved.step};
  for (auto it = losses_.rbegin(); it != losses_.rend() && kept.size() < options_.keep; ++it) {
    kept.insert(it->first);
  }
  const auto best = std::ranges::min_element(losses_, {}, [](const auto& it) { return it.second; });
  if (best->second < kNoLoss) kept.insert(best->first);
  const auto base = std::ranges::find_if(losses_.rbegin(), losses_.rend(), [&](const auto& it) {
    return options_.base_steps > 0 && it.first % options_.base_steps == 0;
  });
  if (base != losses_.rend()) kept.insert(base->first);

  for (auto it = losses_.begin(); it != losses_.end();) {
    if (kept.contains(it->first)) {
      ++it;
      continue;
    }
    const fs::path path = path_of(it->first);
    std::error_code code;
    fs::remove(path, code);
    if (code) fail("cannot remove {}: {}; check the directory", path.string(), code.message());
    saved.removed.push_back(path);
    it = losses_.erase(it);
    fail_point("checkpoint.retired");
  }
}

}  // namespace cllm::train
