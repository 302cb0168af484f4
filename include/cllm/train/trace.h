#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "cllm/base/recorder.h"
#include "cllm/ranks/process_group.h"
#include "cllm/train/trainer.h"

namespace cllm::train {

/// Records some steps of a run, and writes what every thread of every rank did in them as one file
/// in Chrome's trace format, which Perfetto opens: a process for each rank, a row for each thread.
class Trace {
 public:
  /// Steps `first` to `last`, counted from 1, both included; none for 0.
  Trace(std::filesystem::path file, std::uint64_t first, std::uint64_t last)
      : file_(std::move(file)), first_(first), last_(last) {}

  /// Before and after each step of that number, on all ranks alike. The last one writes the file,
  /// on rank 0, and returns true there. Where it can't be written, `problem` says so.
  void before(std::uint64_t step, Trainer& trainer, ranks::ProcessGroup& process_group);
  bool after(std::uint64_t step, Trainer& trainer, ranks::ProcessGroup& process_group);
  /// Where the run goes no further: as after the last step, with what there is; does nothing where
  /// no step is being recorded. On all ranks alike.
  bool end(Trainer& trainer, ranks::ProcessGroup& process_group);

  const std::filesystem::path& file() const { return file_; }
  /// What went wrong with the file; empty where nothing did.
  const std::string& problem() const { return problem_; }
  /// What rank 0's threads did that had no room in their recorders.
  std::size_t dropped() const { return dropped_; }

 private:
  std::string events_of(Trainer& trainer, int rank) const;

  std::filesystem::path file_;
  std::uint64_t first_, last_;
  bool is_recording_ = false;
  Recorder::Clock::time_point zero_{};
  std::size_t dropped_ = 0;
  std::string problem_;
};

}  // namespace cllm::train
