#include "cllm/io/run_directory.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <span>
#include <string_view>
#include <system_error>
#include <utility>

#include "cllm/base/error.h"
#include "cllm/base/file.h"
#include "cllm/io/checkpoint.h"

namespace cllm::io {

namespace fs = std::filesystem;

fs::path checkpoint_name(std::uint64_t step) { return fmt::format("step-{:08}.h5", step); }

std::optional<std::uint64_t> step_in_name(const fs::path& path) {
  constexpr std::string_view kPrefix = "step-";
  const std::string name = path.filename().string();
  if (!name.starts_with(kPrefix)) return std::nullopt;
  std::uint64_t step = 0;
  std::from_chars(name.data() + kPrefix.size(), name.data() + name.size(), step);
  if (name != checkpoint_name(step)) return std::nullopt;
  return step;
}

std::vector<fs::path> list_checkpoints(const fs::path& directory) {
  std::vector<std::pair<std::uint64_t, fs::path>> found;
  try {
    for (const auto& entry : fs::directory_iterator(directory)) {
      const auto step = step_in_name(entry.path());
      if (step) found.emplace_back(*step, entry.path());
    }
  } catch (const fs::filesystem_error& error) {
    fail("cannot look for checkpoints in {}: {}; give a directory that a run wrote into",
         directory.string(), error.code().message());
  }
  std::ranges::sort(found);
  std::vector<fs::path> paths;
  for (auto& [step, path] : found) paths.push_back(std::move(path));
  return paths;
}

std::optional<fs::path> find_newest_checkpoint(const fs::path& directory) {
  const std::vector<fs::path> paths = list_checkpoints(directory);
  if (paths.empty()) return std::nullopt;
  return paths.back();
}

std::vector<std::string> problems_of(const fs::path& checkpoint, const CheckpointSummary& summary) {
  const std::uint64_t step = summary.run.step;
  std::vector<std::string> problems = summary.problems();
  if (problems.empty() && step_in_name(checkpoint).value_or(step) != step) {
    problems.push_back(fmt::format("{} holds step {}, which is not that of its name; rename it",
                                   checkpoint.string(), step));
  }
  return problems;
}

std::optional<std::string> problem_of(const fs::path& checkpoint) {
  try {
    const auto problems = problems_of(checkpoint, describe_checkpoint(checkpoint));
    if (problems.empty()) return std::nullopt;
    return problems.front();
  } catch (const Error& error) {
    return error.what();
  }
}

WholeCheckpoint find_newest_whole_checkpoint(const fs::path& directory) {
  WholeCheckpoint found;
  std::vector<fs::path> paths = list_checkpoints(directory);
  found.count = paths.size();
  for (; !paths.empty(); paths.pop_back()) {
    const std::optional<std::string> problem = problem_of(paths.back());
    if (!problem) {
      found.path = paths.back();
      break;
    }
    found.problems.push_back(*problem);
  }
  return found;
}

void set_newest_checkpoint(const fs::path& checkpoint) {
  const std::string line = checkpoint.filename().string() + "\n";
  write_atomically(checkpoint.parent_path() / kLatestName, std::as_bytes(std::span(line)));
}

fs::path aside_name(const fs::path& path) {
  fs::path aside = path.string() + ".aside";
  for (int i = 2; fs::exists(aside); ++i) aside = fmt::format("{}.aside-{}", path.string(), i);
  return aside;
}

std::vector<std::string> set_newer_aside(const fs::path& directory, std::uint64_t step) {
  std::vector<fs::path> paths = list_checkpoints(directory);
  std::vector<fs::path> newer;
  // Newest first: should this end halfway, what is left has no gap.
  for (; !paths.empty() && *step_in_name(paths.back()) > step; paths.pop_back()) {
    newer.push_back(paths.back());
  }
  std::vector<std::string> sentences;
  if (newer.empty()) return sentences;
  std::error_code code;
  if (paths.empty()) {
    fs::remove(directory / kLatestName, code);
    if (code) fail("cannot remove {}: {}", (directory / kLatestName).string(), code.message());
  } else {
    set_newest_checkpoint(paths.back());
  }
  for (const fs::path& path : newer) {
    const fs::path aside = aside_name(path);
    fs::rename(path, aside, code);
    if (code) {
      fail("cannot rename {} to {}: {}; check the directory", path.string(), aside.string(),
           code.message());
    }
    sentences.push_back(fmt::format("{} is of a step that is now taken anew; it is kept as {}",
                                    path.filename().string(), aside.filename().string()));
  }
  return sentences;
}

}  // namespace cllm::io
