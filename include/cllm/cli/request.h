#pragma once

#include <CLI/CLI.hpp>
#include <filesystem>
#include <string>
#include <utility>

#include "cllm/cli/arguments.h"
#include "cllm/cli/settings.h"
#include "cllm/train/collective.h"

namespace cllm::cli {

/// The options of a run, read from the checkpoint that is resumed, --config, and the command line,
/// of which a later one wins.
struct Request {
  CLI::App app;
  TrainSettings settings;
  std::string resumed;           ///< the checkpoint; empty for a new run
  bool keeps_tokenizer = false;  ///< of the checkpoint: no other was asked for
};

/// Reads the request of all ranks, which call it alike. `request` is new: its app is bound to its
/// settings. Throws Error, the same on every rank.
void read_request(const Arguments& command_line, train::Collective& collective, Request& request);

/// The directory of the run, which is that of the checkpoint unless --out says otherwise. Refuses
/// one that already holds another run. Makes it, and tells whether it was not there.
/// On rank 0 alone. Throws Error that names --out.
std::filesystem::path directory_of_run(const Request& request, bool& is_new);

/// A run's directory, which goes again, if it was made for the run, when nothing was written to it.
class RunDirectory {
 public:
  RunDirectory(std::filesystem::path path, bool is_new) : path_(std::move(path)), is_new_(is_new) {}
  RunDirectory(const RunDirectory&) = delete;
  RunDirectory& operator=(const RunDirectory&) = delete;
  ~RunDirectory() {
    std::error_code ignored;
    if (is_new_) std::filesystem::remove(path_, ignored);  // fails where it holds anything
  }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  bool is_new_;
};

}  // namespace cllm::cli
