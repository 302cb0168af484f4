#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "cllm/base/appended_file.h"
#include "cllm/io/event_file.h"
#include "cllm/train/checkpoint_writer.h"
#include "cllm/train/text_sampler.h"
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

/// A start of the program on a run.
struct RunStart {
  std::int64_t time;    ///< seconds since 1970
  std::uint64_t steps;  ///< of the whole run, as this start has it
  std::size_t ranks;
  std::size_t threads = 0;              ///< of all ranks
  std::vector<std::string> hosts = {};  ///< each once
  std::string job;                      ///< what Slurm calls it; empty outside of a job
  std::string version;                  ///< of the program
};

/// metrics.jsonl of a run: one object per step, evaluation, checkpoint or event, written out at
/// once, and, where it is asked for, the same numbers as events for TensorBoard. While they can't
/// be written (a full disk), lines wait for it to be possible again. One thread at a time, but for
/// `sync`.
class MetricsLog {
 public:
  /// Opens for appending. Lines of steps after `last_step` are dropped: they belong to what a
  /// resumed run does again. Those of starts and stops stay, for they happened. `events`, which may
  /// be null, must outlive it. Throws Error naming the file.
  MetricsLog(const std::filesystem::path& path, std::uint64_t last_step,
             io::EventFile* events = nullptr);

  /// That the program starts, after `state_step` steps. Of the hosts it names the first few.
  void start(std::uint64_t state_step, const RunStart& start);
  /// That it stops, saved, at `time` (seconds since 1970), before the run is complete.
  void stop(std::uint64_t state_step, std::int64_t time, const std::string& why);
  /// `state_step` counts the steps taken, this one included.
  void step(std::uint64_t state_step, std::uint64_t tokens_seen, std::uint64_t step_tokens,
            const StepReport& report);
  void evaluation(std::uint64_t state_step, std::uint64_t tokens_seen,
                  const Evaluation& evaluation);

  void sample(std::uint64_t state_step, const TextSample& sample);
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
  void sync() const { file_.sync(); }
  /// Why lines are waiting, as a sentence; empty where none is.
  const std::string& problem() const { return file_.problem(); }

 private:
  void write(const nlohmann::ordered_json& object);

  std::filesystem::path path_;
  AppendedFile file_;
  io::EventFile* events_;
};

/// What TensorBoard is shown of a line of the metrics: its numbers, under names by subject. "loss"
/// is loss/train, "val_loss" loss/validation, and so on; what isn't known is left out.
std::vector<io::Scalar> scalars_of(const nlohmann::ordered_json& line);

}  // namespace cllm::train
