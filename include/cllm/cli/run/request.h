#pragma once

#include <CLI/CLI.hpp>
#include <filesystem>
#include <utility>

#include "cllm/base/file_lock.h"
#include "cllm/cli/arguments.h"
#include "cllm/cli/run/settings.h"
#include "cllm/cli/run/starting_point.h"
#include "cllm/ranks/process_group.h"

namespace cllm::cli {

/// The options of a run, read from the checkpoint that is resumed, --config, and the command line,
/// of which a later one wins.
struct Request {
  CLI::App app;
  TrainSettings settings;
  StartingPoint start;           ///< the checkpoint that the run begins with, if any
  bool keeps_tokenizer = false;  ///< of the checkpoint: no other was asked for
  FileLock lock;                 ///< of the run's directory, on rank 0
};

/// Reads the request of all ranks, which call it alike. `request` is new: its app is bound to its
/// settings. Throws Error, the same on every rank.
void read_request(const Arguments& command_line, ranks::ProcessGroup& process_group,
                  Request& request);

/// The directory of the run, which is that of the checkpoint unless --out says otherwise. Refuses
/// one that already holds another run, or that another process writes into. Makes it, tells whether
/// it was not there, and locks it. On rank 0 alone. Throws Error that names --out.
std::filesystem::path directory_of_run(Request& request, bool& is_new);

/// A run's directory, which goes again, if it was made for the run, when nothing was written to it.
class RunDirectory {
 public:
  RunDirectory(std::filesystem::path path, bool is_new, FileLock lock)
      : path_(std::move(path)), is_new_(is_new), lock_(std::move(lock)) {}
  RunDirectory(const RunDirectory&) = delete;
  RunDirectory& operator=(const RunDirectory&) = delete;
  ~RunDirectory() {
    lock_ = {};  // it is a file
    std::error_code ignored;
    if (is_new_) std::filesystem::remove(path_, ignored);  // fails where it holds anything
  }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  bool is_new_;
  FileLock lock_;
};

}  // namespace cllm::cli
