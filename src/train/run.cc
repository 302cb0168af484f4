#include "cllm/train/run.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <new>
#include <optional>
#include <system_error>
#include <utility>

#include "cllm/base/error.h"
#include "cllm/base/fail_point.h"
#include "cllm/base/stopwatch.h"
#include "cllm/ranks/agreement.h"
#include "cllm/ranks/heartbeat.h"
#include "cllm/train/saved_state.h"

namespace cllm::train {
namespace {

/// After so many times in a row from one checkpoint, going back is hopeless.
constexpr std::uint64_t kMostRollbacks = 3;

/// How much longer than the last one a checkpoint may take, before time is short.
constexpr double kReserve = 1.5;

bool is_multiple(std::uint64_t step, std::uint64_t interval) {
  return interval > 0 && step % interval == 0;
}

/// What ranks wish at a step boundary. Signals reach some ranks, and clocks differ: only what any
/// of them wishes, and all know of, is done.
enum Wish : std::size_t {
  kSave,
  kStopForFailedSave,
  kStopForSignal,
  kStopForFile,
  kStopForTime,
  kWishes
};
using Wishes = std::array<std::int64_t, kWishes>;

class Runner {
 public:
  Runner(const RunSchedule& schedule, const RunParts& parts,
         const std::filesystem::path& starting_point, State& state)
      : schedule_(schedule),
        parts_(parts),
        outputs_(parts.outputs),
        state_(state),
        starting_directory_(starting_point.parent_path()),
        newest_(starting_point.string()) {
    if (schedule.is_saved) saved_step_ = state.step;
    if (outputs_ != nullptr && state.validation) {
      outputs_->progress.set_validation(state.validation->loss);
    }
  }

  std::string run() {
    if (state_.lacks_evaluation) {
      evaluate();
      saved_step_.reset();
    }
    if (schedule_.on_spike == OnSpike::kRollback && !saved_step_) save();
    for (;;) {
      const Wishes wishes = agree();
      if (wishes[kStopForFailedSave] > 0) give_up_saving();
      const std::string why = reason_to_stop(wishes);
      const bool is_complete = !reason_complete(schedule_.goal, state_).empty();
      const bool ends = is_complete || !why.empty();
      if (ends || is_to_save() || wishes[kSave] > 0) save();
      if (ends) {
        report_trace(parts_.trace.end(parts_.trainer, parts_.process_group));
        remove_stop_file();
        finish();
        return is_complete ? "" : why;
      }
      take_step();
    }
  }

 private:
  Wishes agree() {
    Wishes wishes{};
    if (parts_.signals.received() != 0) wishes[kStopForSignal] = 1;
    if (outputs_ != nullptr) {
      report_checkpoints();
      wishes[kSave] =
          schedule_.checkpoint_seconds > 0 && since_save_.elapsed() >= schedule_.checkpoint_seconds;
      wishes[kStopForFailedSave] = schedule_.stop_when_saving_fails && !save_problem_.empty();
      std::error_code unknown;  // of a file system that does not answer now: nobody asks
      wishes[kStopForFile] = std::filesystem::exists(schedule_.stop_file, unknown);
      // Not before a step: where time is always short, each start should still get on.
      const double to_save = kReserve * outputs_->checkpoints.expected_seconds();
      wishes[kStopForTime] = longest_step_ > 0 &&
                             since_start_.elapsed() + longest_step_ + to_save >= schedule_.seconds;
    }
    parts_.process_group.all_reduce(wishes);
    return wishes;
  }

  /// Whether a checkpoint of this step is to be there. Time, which decides too, is rank 0's to
  /// tell.
  bool is_to_save() const {
    if (state_.step > 0 && is_multiple(state_.step, schedule_.checkpoint_steps)) return true;
    // What a run that ends early leaves is its best checkpoint.
    return schedule_.goal.may_end_early() && state_.best && state_.best->step == state_.step;
  }

  std::string reason_to_stop(const Wishes& wishes) {
    if (wishes[kStopForSignal] > 0) return "a signal asked for it";
    if (wishes[kStopForTime] > 0) return "the time is up";
    if (wishes[kStopForFile] == 0) return {};
    return fmt::format("{} asked for it", schedule_.stop_file.string());
  }

  /// The file that asked for the stop has done its work; a later start is not to stop at once.
  void remove_stop_file() {
    if (outputs_ == nullptr) return;
    std::error_code code;
    std::filesystem::remove(schedule_.stop_file, code);
    if (code) {
      outputs_->progress.line(fmt::format("cannot remove {}: {}; while it is there, no run goes on",
                                          schedule_.stop_file.string(), code.message()));
    }
  }

  void take_step() {
    const Stopwatch clock;
    ranks::heartbeat().begin_step(state_.step + 1);
    fail_point("step.begins");
    const std::uint64_t seen = state_.tokens_seen;
    parts_.trace.before(state_.step + 1, parts_.trainer, parts_.process_group);
    const StepReport report = parts_.trainer.step(state_);
    if (report.outcome == Outcome::kRefused) return recover(report);
    const bool traced = parts_.trace.after(state_.step, parts_.trainer, parts_.process_group);
    if (outputs_ != nullptr) {
      outputs_->metrics.step(state_.step, state_.tokens_seen, state_.tokens_seen - seen, report);
      outputs_->progress.step(state_.step, report);
      outputs_->progress.foretell(state_.step, schedule_.seconds - since_start_.elapsed(),
                                  schedule_.seconds);
      report_metrics_problem();
    }
    report_trace(traced);
    if (is_multiple(state_.step, schedule_.replicas_every)) check_replicas();
    const bool is_last = state_.step == schedule_.goal.steps;
    if (is_last || is_multiple(state_.step, schedule_.evaluate_every)) evaluate();
    const bool is_complete = !reason_complete(schedule_.goal, state_).empty();
    if (is_multiple(state_.step, schedule_.sample_every) ||
        (is_complete && schedule_.sample_every > 0)) {
      sample();
    }
    longest_step_ = std::max(longest_step_, clock.elapsed());
  }

  void report_trace(bool written) {
    if (!written) return;
    if (!parts_.trace.problem().empty()) {
      outputs_->progress.line("trace   not written: " + parts_.trace.problem());
      return;
    }
    outputs_->progress.line(
        fmt::format("trace   {}{}", parts_.trace.file().string(),
                    parts_.trace.dropped() > 0 ? "; it ends early, give fewer steps" : ""));
  }

  void evaluate() {
    const ranks::Doing doing("evaluating");
    parts_.trainer.complete();
    Evaluation evaluation;
    try {
      evaluation = parts_.evaluator.evaluate(state_.parameters.data());
    } catch (const ReplicatedError&) {  // there is no memory for it; the steps are not lost
      state_.lacks_evaluation = true;
      saved_step_.reset();
      save();
      finish();
      throw;
    }
    state_.lacks_evaluation = false;
    state_.validation.reset();
    if (std::isfinite(evaluation.loss)) state_.validation = Score{state_.step, evaluation.loss};
    const bool is_best = !state_.best || evaluation.loss < state_.best->loss;
    if (is_best) state_.best = state_.validation;
    state_.evaluations_since_best = is_best ? 0 : state_.evaluations_since_best + 1;
    if (outputs_ != nullptr) {
      outputs_->metrics.evaluation(state_.step, state_.tokens_seen, evaluation);
      outputs_->progress.evaluation(state_.step, evaluation);
    }
  }

  /// Rank 0 alone, while the others wait at the step boundary: a token depends on the one before,
  /// so there is nothing to share out. It's no reason to end a run.
  void sample() {
    parts_.trainer.complete();
    if (outputs_ == nullptr) return;
    const ranks::Doing doing("writing a sample");
    std::string problem;
    try {
      const TextSample text = outputs_->sampler->sample(state_.parameters.span());
      outputs_->metrics.sample(state_.step, text);
      outputs_->progress.sample(state_.step, text);
    } catch (const std::bad_alloc&) {
      problem = "there is not enough memory";
    } catch (const Error& error) {
      problem = error.what();
    }
    if (problem.empty()) return;
    outputs_->progress.line(fmt::format("step {}: no sample: {}", state_.step, problem));
  }

  void check_replicas() {
    parts_.trainer.complete();
    const std::string found = train::check_replicas(state_, parts_.layout, schedule_.on_mismatch,
                                                    parts_.trainer.pool(), parts_.process_group);
    if (found.empty() || outputs_ == nullptr) return;
    outputs_->metrics.replicas(state_.step, found);
    outputs_->progress.line(found);
  }

  void save() {
    if (saved_step_ == state_.step) return;
    // What is saved should be what all ranks have.
    if (schedule_.replicas_every > 0) check_replicas();
    saved_step_ = state_.step;
    since_save_.lap();
    parts_.trainer.complete();
    const ranks::Doing doing("saving a checkpoint");
    if (parts_.sender != nullptr) parts_.sender->save(state_);
    if (outputs_ == nullptr) return;
    outputs_->metrics.write_waiting();  // a run that resumes from here writes no lines of before
    outputs_->checkpoints.save(state_);
    report_checkpoints();
  }

  void report_checkpoints() {
    for (const SavedCheckpoint& saved : outputs_->checkpoints.take_reports()) {
      save_problem_ = saved.problem;
      if (saved.problem.empty()) newest_ = saved.path.string();
      outputs_->metrics.checkpoint(saved);
      outputs_->progress.checkpoint(saved);
    }
  }

  void report_metrics_problem() {
    const std::string& problem = outputs_->metrics.problem();
    if (!problem.empty() && metrics_problem_.empty()) {
      outputs_->progress.line(problem + "; until then its lines wait in memory");
    }
    metrics_problem_ = problem;
  }

  /// Waits for what is being written. Throws where the newest state, or a line, is on no disk.
  void finish() {
    ranks::in_agreement(parts_.process_group, [&] {
      const ranks::Doing doing("writing the last checkpoint");
      if (parts_.sender != nullptr) parts_.sender->wait();
      if (outputs_ == nullptr) return;
      outputs_->checkpoints.wait();
      report_checkpoints();
      if (!save_problem_.empty()) fail("{}", save_problem_);
      if (!outputs_->metrics.problem().empty()) fail("{}", outputs_->metrics.problem());
    });
  }

  [[noreturn]] void give_up_saving() {
    report_trace(parts_.trace.end(parts_.trainer, parts_.process_group));
    throw ReplicatedError(ranks::on_rank_0(parts_.process_group, [&] { return save_problem_; }));
  }

  /// A gradient that can't be used, and is not to be skipped.
  void recover(const StepReport& report) {
    report_trace(parts_.trace.end(parts_.trainer, parts_.process_group));
    const std::string found = fmt::format(
        "at step {} the loss is {:.6g} and the norm of its gradient {:.6g}, where {:.6g} was usual",
        state_.step + 1, report.loss, report.gradient_norm,
        state_.gradient_norms.empty() ? 0.0 : SpikeDetector::median(state_.gradient_norms));
    const std::string advice =
        "lower --lr, lengthen --warmup or lower --clip, and go on from an earlier checkpoint";
    if (schedule_.on_spike != OnSpike::kRollback) {
      if (outputs_ != nullptr) outputs_->progress.line(found);
      save();
      finish();
      throw ReplicatedError(fmt::format("{}; {}", found, advice));
    }
    // Data that were read are not read again, so that it is not the same batch that comes next.
    const std::uint64_t from = state_.step + 1;
    const std::uint64_t sequences = state_.sequences + parts_.trainer.batch();
    const auto [count, step] = std::pair(state_.rollbacks, state_.rollback_step);
    go_back();
    state_.rollbacks = step == state_.step ? count + 1 : 1;
    state_.rollback_step = state_.step;
    if (state_.rollbacks > kMostRollbacks) {
      throw ReplicatedError(fmt::format("{}, although the run was rolled back {} times; {}", found,
                                        kMostRollbacks, advice));
    }
    state_.sequences = sequences;
    if (outputs_ == nullptr) return;
    const std::vector<std::string> aside = outputs_->checkpoints.forget_after(state_.step);
    outputs_->metrics.go_back(state_.step);
    outputs_->metrics.rollback(state_.step, from, report.gradient_norm);
    outputs_->progress.line(fmt::format(
        "{}: rolled back to step {}; the batches since then are skipped", found, state_.step));
    for (const std::string& sentence : aside) outputs_->progress.line("note    " + sentence);
  }

  /// To the last checkpoint of the schedule: one that was saved because the run stopped would make
  /// a difference between runs that stopped and those that did not.
  void go_back() {
    const std::string checkpoint = ranks::on_rank_0(parts_.process_group, [&] {
      outputs_->checkpoints.wait();
      report_checkpoints();
      const std::uint64_t step = state_.step - state_.step % schedule_.checkpoint_steps;
      const std::filesystem::path scheduled = outputs_->checkpoints.path_of(step);
      const std::filesystem::path before = starting_directory_ / scheduled.filename();
      for (const auto& path : {scheduled, before}) {
        if (std::filesystem::exists(path)) return path.string();
      }
      return newest_;
    });
    restore(checkpoint, parts_.layout, state_, parts_.process_group);
    saved_step_ = state_.step;
    newest_ = checkpoint;
  }

  const RunSchedule& schedule_;
  const RunParts& parts_;
  RunOutputs* const outputs_;
  State& state_;
  const std::filesystem::path starting_directory_;  // of the checkpoint that the run began with
  std::string newest_;                              // checkpoint; on rank 0
  std::string save_problem_;
  std::string metrics_problem_;
  std::optional<std::uint64_t> saved_step_;
  double longest_step_ = 0;
  Stopwatch since_start_;
  Stopwatch since_save_;
};

}  // namespace

std::string run(const RunSchedule& schedule, const RunParts& parts,
                const std::filesystem::path& starting_point, State& state) {
  const ranks::Doing doing("computing");
  return Runner(schedule, parts, starting_point, state).run();
}

}  // namespace cllm::train
