#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "cllm/base/quantities.h"
#include "cllm/base/stopwatch.h"
#include "cllm/train/checkpoint_writer.h"
#include "cllm/train/metrics.h"
#include "cllm/train/pace.h"
#include "cllm/train/text_sampler.h"
#include "cllm/train/trainer.h"

namespace cllm::train {

/// What a person sees of a run on standard output: on a terminal one live line, elsewhere plain
/// lines every few seconds. Not thread-safe.
class Progress {
 public:
  /// `tokens` of one step over all ranks; `bytes_per_token` of the validation text turns nats per
  /// token into bits per byte, 0 where it isn't known. `live`: whether standard output is a
  /// terminal.
  Progress(const Pace& pace, std::uint64_t step_tokens, double bytes_per_token, bool live);
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  /// Ends the live line, so that what comes after stands on a line of its own.
  ~Progress();

  void step(std::uint64_t state_step, const StepReport& report);
  /// To be called after each step: says, once, when some were taken, how long the run takes, and
  /// whether this start of it is long enough: it still has `start_left` of `start` seconds.
  void foretell(std::uint64_t state_step, double start_left, double start);
  /// The validation loss that the live line shows first, of an earlier start.
  void set_validation(double loss) { validation_ = loss; }
  void evaluation(std::uint64_t state_step, const Evaluation& evaluation);
  void sample(std::uint64_t state_step, const TextSample& sample);
  void checkpoint(const SavedCheckpoint& saved);
  /// A line of its own.
  void line(const std::string& text);

 private:
  /// "step  120/2000", the number as wide as the last.
  std::string place(std::uint64_t state_step) const;
  std::string validation_text() const;

  Pace pace_;
  std::uint64_t step_tokens_;
  double bytes_per_token_;
  bool live_;
  std::optional<double> validation_, trend_;  // the newest loss, and how it differs from before
  Stopwatch since_start_;
  bool is_foretold_ = false;
  Stopwatch since_line_;
  bool first_ = true;
  bool painted_ = false;  // the live line stands, without its end
};

/// Whether standard output ends on a terminal, also behind mpirun, which gives its ranks a terminal
/// of their own whatever it writes to itself.
bool output_is_terminal();

}  // namespace cllm::train
