#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "cllm/base/error.h"
#include "cllm/base/quantities.h"
#include "cllm/base/stopwatch.h"
#include "cllm/cli/commands/commands.h"
#include "cllm/data/token_file.h"
#include "cllm/io/checkpoint.h"
#include "cllm/io/run_directory.h"
#include "cllm/ranks/agreement.h"
#include "cllm/train/progress.h"

namespace cllm::cli {
namespace {

/// What became of one file.
struct Verdict {
  std::string contents;               ///< "148 tensors"
  std::vector<std::string> problems;  ///< a sentence each; none when it is whole
};

Verdict verify_file(const std::filesystem::path& path) {
  try {
    if (data::is_token_file(path)) {
      const auto file = data::TokenFile::open(path, data::TokenFile::Check::digests);
      const char* unsure = file.info().token_digest.empty() ? ", which have no digest" : "";
      const auto count = static_cast<double>(file.tokens().size());
      return {fmt::format("{} tokens{}", count_text(count), unsure), {}};
    }
    const io::CheckpointSummary summary = io::describe_checkpoint(path);
    return {fmt::format("{} tensors", summary.tensors.size()), io::problems_of(path, summary)};
  } catch (const Error& error) {
    return {{}, {error.what()}};
  }
}

/// Verifies a file and prints a line. Returns whether it is whole.
bool report(const std::filesystem::path& path) {
  const Stopwatch watch;
  const Verdict verdict = verify_file(path);
  if (verdict.problems.empty()) {
    const std::uintmax_t size = std::filesystem::file_size(path);
    fmt::print("whole   {}: {}, {}, {:.2f} GB/s\n", path.string(), bytes_text(size),
               verdict.contents, static_cast<double>(size) / watch.elapsed() / 1e9);
  } else {
    const std::size_t more = verdict.problems.size() - 1;
    fmt::print("broken  {}{}\n", verdict.problems.front(),
               more == 0 ? "" : fmt::format(" (and {} more)", more));
  }
  std::fflush(stdout);  // the next file may take a while
  return verdict.problems.empty();
}

/// Also of one that can't be read: it is then reported as broken.
bool may_be_token_file(const std::filesystem::path& path) {
  try {
    return data::is_token_file(path);
  } catch (const Error&) {
    return true;
  }
}

/// A directory's checkpoints by step, then its token files by name.
std::vector<std::filesystem::path> files_of(const std::filesystem::path& directory) {
  std::vector<std::filesystem::path> files = io::list_checkpoints(directory), tokens;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    const bool is_hidden = entry.path().filename().string().starts_with('.');
    if (is_hidden || !entry.is_regular_file() || std::ranges::count(files, entry.path()) > 0) {
      continue;
    }
    if (may_be_token_file(entry.path())) tokens.push_back(entry.path());
  }
  std::ranges::sort(tokens);
  files.insert(files.end(), tokens.begin(), tokens.end());
  return files;
}

}  // namespace

void declare_verify_options(CLI::App& app, VerifySettings& s) {
  add_option(app, "path", s.path, "checkpoint or token FILE, or DIR that holds some")
      ->type_name("PATH")
      ->required();
}

void verify_command(const VerifySettings& settings, ranks::ProcessGroup& process_group) {
  ranks::in_agreement(process_group, [&] {
    if (process_group.rank() != 0) return;
    const std::filesystem::path path = settings.path;
    std::error_code ignored;  // what can't be looked at can't be read either, and is broken
    const bool is_directory = std::filesystem::is_directory(path, ignored);
    const auto files = is_directory ? files_of(path) : std::vector{path};
    if (files.empty()) {
      fail("{} holds no checkpoint (step-*.h5) and no token file; give the directory of a run",
           path.string());
    }
    const auto broken =
        std::ranges::count_if(files, [](const auto& file) { return !report(file); });
    if (broken == 0) return;
    if (!is_directory) fail("{} is not whole; use another file", path.string());
    fail("{} of {} files in {} are not whole; use the others", broken, files.size(), path.string());
  });
}

}  // namespace cllm::cli
