#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "cllm/io/checkpoint.h"

namespace cllm::io {

// The checkpoints of a run, as files of its directory. The number in a name is the step, and the
// one with the highest step is the newest: what a run leaves behind when it goes back is set aside.
// All functions throw Error: one sentence that names the file or directory.

/// "step-00001000.h5"; more digits from step 100,000,000 on.
std::filesystem::path checkpoint_name(std::uint64_t step);

/// The step in a name that `checkpoint_name` makes; nothing for any other.
std::optional<std::uint64_t> step_in_name(const std::filesystem::path& path);

/// What in `directory` is named as `checkpoint_name` does, by ascending step. It is not looked at,
/// and may be no file. Throws Error when the directory can't be read.
std::vector<std::filesystem::path> list_checkpoints(const std::filesystem::path& directory);

/// The last of `list_checkpoints`, if any. It may be broken.
std::optional<std::filesystem::path> find_newest_checkpoint(const std::filesystem::path& directory);

/// All that is wrong with a checkpoint that was read: in it, or else that it is named as one of
/// another step than it holds.
std::vector<std::string> problems_of(const std::filesystem::path& checkpoint,
                                     const CheckpointSummary& summary);

/// What is wrong with a checkpoint, its name included, as one sentence; nothing when all of it was
/// read and is whole.
std::optional<std::string> problem_of(const std::filesystem::path& checkpoint);

/// The newest checkpoint of a directory that is whole.
struct WholeCheckpoint {
  std::filesystem::path path;         ///< empty where none is
  std::size_t count = 0;              ///< of all in the directory
  std::vector<std::string> problems;  ///< of newer ones, newest first
};
WholeCheckpoint find_newest_whole_checkpoint(const std::filesystem::path& directory);

// The other files of a run's directory.

/// Names its newest checkpoint, for people and scripts.
inline constexpr const char* kLatestName = "latest";
/// Its options, as they ran.
inline constexpr const char* kConfigName = "config.toml";
/// What came of each step, see train::MetricsLog.
inline constexpr const char* kMetricsName = "metrics.jsonl";
/// Is there when all steps are taken and saved.
inline constexpr const char* kCompleteName = "complete";
/// Keeps other runs out while one writes.
inline constexpr const char* kLockName = ".lock";

/// Makes `latest` name this checkpoint of its directory.
void set_newest_checkpoint(const std::filesystem::path& checkpoint);

/// The name of a file with ".aside", or ".aside-2" where there is one, and so on.
std::filesystem::path aside_name(const std::filesystem::path& path);

/// Renames the checkpoints of steps after `step` to that: a run goes on from there, and takes those
/// steps anew. Before it lets `latest` name the newest that stays; there is none where none stays.
/// Returns a sentence for each.
std::vector<std::string> set_newer_aside(const std::filesystem::path& directory,
                                         std::uint64_t step);

}  // namespace cllm::io
