#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "cllm/train/checkpoint_writer.h"
#include "cllm/train/trainer.h"

namespace cllm::train {

/// The evaluation of one of several texts.
struct TextEvaluation {
  std::string name;
  double loss;              ///< mean over all targets, nats per token
  std::uint64_t positions;  ///< targets
};

struct Evaluation {
  double loss;  ///< mean over all targets, nats per token; of several texts, by their weights
  std::uint64_t positions;  ///< targets
  double seconds;
  std::vector<TextEvaluation> texts = {};  ///< none where there is one text
};

/// metrics.jsonl of a run: one object per step, evaluation, checkpoint or event, written out at
/// once. While they can't be written (a full disk), lines wait for it to be possible again. One
/// thread at a time, but for `sync`.
class MetricsLog {
 public:
  /// Opens for appending. Lines of steps after `last_step` are dropped: they belong to what a
  /// resumed run does again. Throws Error naming the file.
  MetricsLog(const std::filesystem::path& path, std::uint64_t last_step);
  MetricsLog(const MetricsLog&) = delete;
  MetricsLog& operator=(const MetricsLog&) = delete;
  ~MetricsLog();

  /// `state_step` counts the steps taken, this one included.
  void step(std::uint64_t state_step, std::uint64_t tokens_seen, std::uint64_t step_tokens,
            const StepReport& report);
  void evaluation(std::uint64_t state_step, std::uint64_t tokens_seen,
                  const Evaluation& evaluation);

  void checkpoint(const SavedCheckpoint& saved);
  /// That ranks differed, as `found` says, and were mended after `state_step`.
  void replicas(std::uint64_t state_step, const std::string& found);
  /// That the run went back from step `from` to `state_step`, of which the next line is.
  void rollback(std::uint64_t state_step, std::uint64_t from, double norm);
  /// Drops lines as the constructor does, but for those of earlier rollbacks to the same step.
  void go_back(std::uint64_t last_step);

  /// Writes the lines that wait, if that is possible now.
  void write_waiting();
  /// Puts on the disk what was written. Thread-safe.
  void sync() const;
  /// Why lines are waiting, as a sentence; empty where none is.
  const std::string& problem() const { return problem_; }

 private:
  void open(std::uint64_t last_step, bool with_rollbacks);
  void write(const std::string& line);

  std::filesystem::path path_;
  int descriptor_ = -1;
  std::string waiting_;
  std::string problem_;
};

}  // namespace cllm::train
