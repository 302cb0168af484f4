#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cllm/report/followed_file.h"
#include "cllm/report/metrics.h"

namespace cllm::report {

/// What a run is doing, as far as its directory tells.
enum class Status {
  kStarting,  ///< no step yet
  kRunning,
  kSilent,   ///< nobody said that it ended, but it has written nothing for long
  kStopped,  ///< saved, and to be continued; or killed
  kComplete,
};

/// "running".
const char* status_word(Status status);

/// A file of a checkpoint.
struct CheckpointFile {
  std::uint64_t step;
  std::string name;
  std::uintmax_t bytes;
  std::int64_t time;  ///< seconds since 1970, when it was written
};

/// An option of a run, as its config.toml has it.
struct RunOption {
  std::string name, value;
  bool is_derived;  ///< it followed from others
};

/// A run's directory, read again and again while the run writes: it is only read, and nothing in it
/// is locked or touched. Memory is bounded, as Metrics says; of its checkpoints it knows the newest
/// 200. Not thread-safe.
class RunRecord {
 public:
  /// `name`: what the run is called beside others; `buckets`: of its curves, see Metrics.
  RunRecord(std::filesystem::path directory, std::string name,
            std::size_t buckets = Curve::kBuckets);

  /// Reads what is new. `now`: seconds since 1970. Throws Error naming the file where something is
  /// there that can't be read.
  void refresh(std::int64_t now);

  const std::filesystem::path& directory() const { return directory_; }
  const std::string& name() const { return name_; }
  const Metrics& metrics() const { return metrics_; }
  Status status() const { return status_; }
  /// What the file says that marks it as complete: "20 steps"; empty where it isn't.
  const std::string& completion() const { return completion_; }
  /// When it wrote last, seconds since 1970; 0 where it has written nothing.
  std::int64_t last_sign() const { return last_sign_; }
  /// Of the whole run; 0 where nothing says so.
  std::uint64_t steps() const;
  /// Seconds until it is complete, by its newest steps and by evaluations up to now; nothing where
  /// that can't be told.
  std::optional<double> seconds_left() const;
  /// The options of config.toml in its order, those that followed from others included.
  const std::vector<RunOption>& options() const { return options_; }
  /// The value of an option; empty where it has none.
  std::string option(std::string_view name) const;
  /// Ascending by step.
  const std::vector<CheckpointFile>& checkpoints() const { return checkpoints_; }
  std::size_t checkpoint_count() const { return checkpoint_count_; }
  /// The newest start and stop; null where the file tells of none.
  const Start* start() const;
  const Stop* stop() const;
  /// Of starts that went on from an earlier one.
  std::size_t resumes() const;

 private:
  void read_options();
  void read_checkpoints();
  Status find_status(std::int64_t now) const;

  std::filesystem::path directory_;
  std::string name_;
  std::size_t buckets_;
  FollowedFile log_;
  Metrics metrics_;
  Status status_ = Status::kStarting;
  std::string completion_;
  std::int64_t last_sign_ = 0;
  std::vector<RunOption> options_;
  std::vector<CheckpointFile> checkpoints_;
  std::size_t checkpoint_count_ = 0;
};

/// The options that lines "key = value" tell of; of those that followed from others, lines
/// "# key = value" do. Other lines are passed over; quotes around a value go.
std::vector<RunOption> options_in(const std::string& toml);

/// Whether a directory is that of a run.
bool is_run(const std::filesystem::path& directory);

/// The runs that `paths` mean, in that order: a run's directory is one, and a directory of runs
/// (a sweep) all that are directly in it, by name, numbers by size. Throws Error naming the path
/// where there is none, or there are more than a thousand. Of many runs each keeps less.
std::vector<RunRecord> find_runs(const std::vector<std::string>& paths);

}  // namespace cllm::report
