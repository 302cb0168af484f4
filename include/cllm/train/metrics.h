#pragma once

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>

#include "cllm/train/trainer.h"

namespace cllm::train {

struct Evaluation {
  double loss;              ///< mean over all targets, nats per token
  std::uint64_t positions;  ///< targets
  double seconds;
};

/// metrics.jsonl of a run: one object per step or evaluation, written out at once. Not thread-safe.
class MetricsLog {
 public:
  /// Opens for appending. Lines of steps after `last_step` are dropped: they belong to what a
  /// resumed run does again. Throws Error naming the file.
  MetricsLog(const std::filesystem::path& path, std::uint64_t last_step);

  /// `state_step` counts the steps taken, this one included.
  void step(std::uint64_t state_step, std::uint64_t tokens_seen, std::uint64_t step_tokens,
            const StepReport& report);
  void evaluation(std::uint64_t state_step, std::uint64_t tokens_seen,
                  const Evaluation& evaluation);

 private:
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  void write(const std::string& line);

  std::filesystem::path path_;
  std::unique_ptr<std::FILE, Close> file_;
};

}  // namespace cllm::train
