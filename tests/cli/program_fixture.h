#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "support/child_process.h"
#include "support/scratch_directory.h"

namespace cllm::cli {

using support::ChildResult;
using support::wait_until;
using Arguments = std::vector<std::string>;
using Environment = std::map<std::string, std::string>;

/// `first`, then `second`.
Arguments operator+(Arguments first, const Arguments& second);

/// Starts the program in a directory of its own, as its users do.
class ProgramTest : public testing::Test {
 protected:
  /// Seconds that a call may take on a busy machine before it counts as a hang.
  static constexpr double kPatience = 180;

  /// The directory that the program is started in; paths in arguments are relative to it.
  const std::filesystem::path& directory() const { return scratch_.path(); }
  std::filesystem::path path(const std::string& name) const { return directory() / name; }

  /// Starts a command that runs beside the test.
  support::ChildProcess start(const Arguments& command, const Environment& environment = {}) const;
  /// Waits for its end. One that does not end is a failure, and says so.
  ChildResult wait(support::ChildProcess& child) const;
  /// Runs a command to its end.
  ChildResult run(const Arguments& command, const Environment& environment = {}) const;
  /// Runs the program, alone or on several ranks.
  ChildResult program(const Arguments& arguments) const;
  ChildResult program_on(int ranks, const Arguments& arguments) const;
  /// The same, for what has to succeed.
  ChildResult succeed(const Arguments& arguments) const;
  ChildResult succeed_on(int ranks, const Arguments& arguments) const;

  /// Trains a few steps of a model that is large beside the program: the memory budget that it
  /// tells is within a tenth of its peak.
  void expect_right_budget(const Arguments& more) const;

  /// Runs a shell script in a mount namespace of its own, with the arguments as $@. What it mounts
  /// is gone afterwards.
  static Arguments privately(const std::string& script, const Arguments& arguments);
  /// Whether scripts may mount; makes the directory "disk" for it.
  bool may_mount() const;

  /// The name of a library for LD_PRELOAD, which takes none with a space: that of a link to it in
  /// the directory.
  std::string preloadable(const std::filesystem::path& library) const;

  /// Processes of the program that were started with this argument, by the number of their rank.
  static std::vector<std::pair<std::string, pid_t>> ranks_with(const std::string& argument);
  /// Rank 0 of them, when it stopped itself at the fail point that it was started with. A failure
  /// where it does not.
  static pid_t wait_until_stopped(const std::string& argument);

  std::string write(const std::string& name, const std::string& contents) const;
  std::string read(const std::string& name) const;
  /// Paths of all files in a directory of the test, relative to it, sorted; none where it is
  /// absent.
  std::vector<std::string> files_in(const std::string& name) const;

  /// The lines of a run's metrics.jsonl that have `key`, in order.
  std::vector<nlohmann::json> metrics(const std::string& run, const std::string& key) const;
  std::vector<double> values(const std::string& run, const std::string& key) const;
  /// The steps of those lines.
  std::vector<int> steps_with(const std::string& run, const std::string& key) const;
  /// "path digest" of every tensor, as `inspect --tensors` says.
  std::vector<std::string> digests(const std::string& checkpoint) const;

 private:
  support::ScratchDirectory scratch_;
};

/// Options of a run of a second: the smallest model on one thread.
Arguments tiny(const std::string& out, int steps, const Arguments& more = {});

/// The program's command line; with mpirun where it is for several ranks.
Arguments command_for(int ranks, const Arguments& arguments);

/// mpirun's arguments up to the number of ranks.
Arguments mpirun();

/// Text of `lines` different lines of words.
std::string sample_text(int lines);

std::vector<std::string> lines_of(const std::string& text);
/// How many of the lines begin so.
std::ptrdiff_t count_lines(const std::string& text, const std::string& beginning);

/// Whether the program refused: it failed by itself, with one sentence on stderr and no other.
/// mpirun's own words don't count.
void expect_one_sentence(const ChildResult& result, const std::string& regex);

}  // namespace cllm::cli
