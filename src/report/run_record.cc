#include "cllm/report/run_record.h"

#include <sys/stat.h>

#include <algorithm>
#include <cctype>
#include <fstream>
#include <sstream>

#include "cllm/base/error.h"
#include "cllm/base/file.h"
#include "cllm/base/utf8.h"
#include "cllm/io/run_directory.h"

namespace cllm::report {
namespace {

namespace fs = std::filesystem;

/// Buckets of a curve, over all runs, and of one.
constexpr std::size_t kMostRuns = 1000, kMostBuckets = 64'000, kFewestBuckets = 64;
constexpr std::size_t kMostCheckpoints = 200;

/// Bounds for a configuration; those that runs write are far below.
constexpr std::uintmax_t kLargestConfig = 1 << 20;
constexpr std::size_t kMostOptions = 500, kLongestValue = 2000;

/// A run that has written nothing for so many times its longest step, and so many seconds, is
/// silent: its watchdog would have ended it. Before the first step it prepares its data.
constexpr double kPatience = 10, kShortestPatience = 120, kPatienceAtStart = 1800;

/// When a file was written, seconds since 1970; 0 where it isn't there.
std::int64_t time_of(const fs::path& path) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0 ? status.st_mtime : 0;
}

/// Of a file that may be gone, or be anything.
std::string first_line(const fs::path& path) {
  std::string line(kLongestValue, '\0');
  std::ifstream file(path, std::ios::binary);
  file.read(line.data(), static_cast<std::streamsize>(line.size()));
  line.resize(static_cast<std::size_t>(file.gcount()));
  return line.substr(0, line.find('\n'));
}

bool is_there(const fs::path& path) {
  std::error_code unknown;
  return fs::exists(path, unknown);
}

/// "run-9" before "run-10".
bool comes_before(const std::string& a, const std::string& b) {
  const auto is_digit = [](char c) { return std::isdigit(static_cast<unsigned char>(c)) != 0; };
  std::size_t i = 0, j = 0;
  while (i < a.size() && j < b.size()) {
    if (is_digit(a[i]) && is_digit(b[j])) {
      const auto digits = [&](const std::string& text, std::size_t& at) {
        while (at < text.size() && text[at] == '0') ++at;
        const std::size_t first = at;
        while (at < text.size() && is_digit(text[at])) ++at;
        return text.substr(first, at - first);
      };
      const std::string left = digits(a, i), right = digits(b, j);
      if (left.size() != right.size()) return left.size() < right.size();
      if (left != right) return left < right;
    } else if (a[i] != b[j]) {
      return a[i] < b[j];
    } else {
      ++i;
      ++j;
    }
  }
  return a.size() - i != b.size() - j ? a.size() - i < b.size() - j : a < b;
}

std::vector<fs::path> runs_in(const fs::path& directory) {
  if (is_run(directory)) return {directory};
  std::vector<fs::path> runs;
  std::error_code code;
  for (fs::directory_iterator entry(directory, code), end; !code && entry != end;
       entry.increment(code)) {
    if (is_run(entry->path())) runs.push_back(entry->path());
  }
  if (code) {
    fail("cannot read {}: {}; give the directory of a run, or of runs", directory.string(),
         code.message());
  }
  std::ranges::sort(runs, comes_before,
                    [](const fs::path& run) { return run.filename().string(); });
  return runs;
}

/// Names by which the runs can be told apart: of their directories, or all of the path.
std::vector<std::string> names_of(const std::vector<fs::path>& runs) {
  std::vector<std::string> names;
  for (const fs::path& run : runs) {
    const fs::path normal = fs::absolute(run).lexically_normal();
    names.push_back((normal.has_filename() ? normal : normal.parent_path()).filename().string());
  }
  std::vector<std::string> sorted = names;
  std::ranges::sort(sorted);
  if (std::ranges::adjacent_find(sorted) == sorted.end()) return names;
  for (std::size_t i = 0; i < runs.size(); ++i) names[i] = runs[i].string();
  return names;
}

std::string unquoted(const std::string& value) {
  if (value.size() < 2 || value.front() != value.back()) return value;
  return value.front() == '"' || value.front() == '\'' ? value.substr(1, value.size() - 2) : value;
}

}  // namespace

bool is_run(const fs::path& directory) {
  return is_there(directory / io::kMetricsName) || is_there(directory / io::kConfigName);
}

const char* status_word(Status status) {
  switch (status) {
    case Status::kStarting:
      return "starting";
    case Status::kRunning:
      return "running";
    case Status::kSilent:
      return "silent";
    case Status::kStopped:
      return "stopped";
    case Status::kComplete:
      return "complete";
  }
  return "";
}

std::vector<RunOption> options_in(const std::string& toml) {
  std::vector<RunOption> options;
  std::istringstream lines(toml);
  for (std::string line; options.size() < kMostOptions && std::getline(lines, line);) {
    const bool is_derived = line.starts_with("# ");
    if (is_derived) line.erase(0, 2);
    const std::size_t middle = line.find(" = ");
    if (middle == line.npos || middle == 0 || line.find(' ') < middle) continue;
    std::string value = unquoted(line.substr(middle + 3));
    if (value.size() > kLongestValue) value.resize(utf8_boundary(value, kLongestValue));
    options.push_back({line.substr(0, middle), std::move(value), is_derived});
  }
  return options;
}

RunRecord::RunRecord(fs::path directory, std::string name, std::size_t buckets)
    : directory_(std::move(directory)),
      name_(std::move(name)),
      buckets_(buckets),
      log_(directory_ / io::kMetricsName),
      metrics_(buckets) {}

void RunRecord::refresh(std::int64_t now) {
  log_.read([&] { metrics_ = Metrics(buckets_); },
            [&](std::string_view line) { metrics_.read(line); });
  read_options();
  read_checkpoints();
  last_sign_ = time_of(directory_ / io::kMetricsName);
  status_ = find_status(now);
  completion_ = first_line(directory_ / io::kCompleteName);
}

void RunRecord::read_options() {
  const fs::path path = directory_ / io::kConfigName;
  std::error_code code;
  const std::uintmax_t size = fs::file_size(path, code);
  if (code || size > kLargestConfig) return;
  try {
    options_ = options_in(read_file(path));
  } catch (const Error&) {  // it is being replaced
  }
}

void RunRecord::read_checkpoints() {
  std::vector<fs::path> paths = io::list_checkpoints(directory_);
  checkpoint_count_ = paths.size();
  paths.erase(paths.begin(),
              paths.end() - static_cast<std::ptrdiff_t>(std::min(paths.size(), kMostCheckpoints)));
  checkpoints_.clear();
  for (const fs::path& path : paths) {
    struct stat status {};
    if (::stat(path.c_str(), &status) != 0) continue;  // it was removed just now
    checkpoints_.push_back({*io::step_in_name(path), path.filename().string(),
                            static_cast<std::uintmax_t>(status.st_size), status.st_mtime});
  }
}

Status RunRecord::find_status(std::int64_t now) const {
  if (is_there(directory_ / io::kCompleteName)) return Status::kComplete;
  // Also where a file system can't lock, the file is there as long as a run is, and longer if that
  // was killed.
  if (!is_there(directory_ / io::kLockName)) return Status::kStopped;
  const bool starts = metrics_.loss.empty() || stop() != nullptr;
  const double patience =
      std::max(starts ? kPatienceAtStart : kShortestPatience, kPatience * metrics_.longest_wait);
  const std::int64_t last = std::max(last_sign_, time_of(directory_ / io::kLockName));
  if (static_cast<double>(now - last) > patience) return Status::kSilent;
  return starts ? Status::kStarting : Status::kRunning;
}

std::uint64_t RunRecord::steps() const {
  if (const Start* const newest = start(); newest != nullptr && newest->steps > 0) {
    return newest->steps;
  }
  const std::string text = option("steps");
  std::uint64_t steps = 0;
  std::istringstream(text) >> steps;
  return steps;
}

std::optional<double> RunRecord::seconds_left() const {
  const std::uint64_t all = steps(), taken = metrics_.at.step;
  const double step = metrics_.recent_step_seconds();
  if (all <= taken || taken == 0 || step <= 0) return std::nullopt;
  const double evaluating = metrics_.evaluation_seconds / static_cast<double>(taken);
  return static_cast<double>(all - taken) * (step + evaluating);
}

std::string RunRecord::option(std::string_view name) const {
  const auto found = std::ranges::find(options_, name, &RunOption::name);
  return found == options_.end() ? "" : found->value;
}

const Start* RunRecord::start() const {
  const auto& all = metrics_.sittings.all();
  const auto found =
      std::find_if(all.rbegin(), all.rend(), [](const Sitting& each) { return each.start; });
  return found == all.rend() ? nullptr : &*found->start;
}

const Stop* RunRecord::stop() const {
  const auto& all = metrics_.sittings.all();
  return all.empty() || !all.back().stop ? nullptr : &*all.back().stop;
}

std::size_t RunRecord::resumes() const {
  const auto starts = static_cast<std::size_t>(std::ranges::count_if(
      metrics_.sittings.all(), [](const Sitting& each) { return each.start.has_value(); }));
  return starts > 0 ? starts - 1 : 0;
}

std::vector<RunRecord> find_runs(const std::vector<std::string>& paths) {
  std::vector<fs::path> found;
  for (const std::string& path : paths) {
    const std::vector<fs::path> runs = runs_in(path);
    if (runs.empty()) {
      fail("{} holds no run (no {}); give the directory of a run, or one that holds some", path,
           io::kMetricsName);
    }
    for (const fs::path& run : runs) {
      if (std::ranges::find(found, run) == found.end()) found.push_back(run);
    }
    if (found.size() > kMostRuns) {
      fail("{} makes it more than {} runs; give fewer", path, kMostRuns);
    }
  }
  const std::vector<std::string> names = names_of(found);
  std::vector<RunRecord> records;
  const std::size_t buckets =
      std::clamp(kMostBuckets / found.size(), kFewestBuckets, Curve::kBuckets);
  for (std::size_t i = 0; i < found.size(); ++i) records.emplace_back(found[i], names[i], buckets);
  return records;
}

}  // namespace cllm::report
