#include "program_fixture.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <fstream>
#include <regex>
#include <sstream>

namespace cllm::cli {

namespace fs = std::filesystem;

namespace {

std::string contents(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();  // of a process that ends meanwhile, what there was
  return text.str();
}

}  // namespace

Arguments operator+(Arguments first, const Arguments& second) {
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

support::ChildProcess ProgramTest::start(const Arguments& command,
                                         const Environment& environment) const {
  // Ranks share cores with other tests, and nobody may wait by spinning.
  Environment all = {{"OMPI_ALLOW_RUN_AS_ROOT", "1"},
                     {"OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1"},
                     {"OMPI_MCA_mpi_yield_when_idle", "1"},
                     {"OMP_WAIT_POLICY", "passive"}};
  all.insert(environment.begin(), environment.end());
  return {command, directory(), all};
}

ChildResult ProgramTest::wait(support::ChildProcess& child) const {
  ChildResult result = child.wait(kPatience);
  if (result.timed_out) {
    ADD_FAILURE() << "hangs: was still running after " << kPatience << " s\n"
                  << result.out << result.err;
  }
  return result;
}

ChildResult ProgramTest::run(const Arguments& command, const Environment& environment) const {
  const testing::ScopedTrace trace(__FILE__, __LINE__, testing::PrintToString(command));
  support::ChildProcess child = start(command, environment);
  return wait(child);
}

ChildResult ProgramTest::program(const Arguments& arguments) const {
  return run(Arguments{CLLM_PROGRAM} + arguments);
}

ChildResult ProgramTest::program_on(int ranks, const Arguments& arguments) const {
  return run(mpirun() + Arguments{"-np", std::to_string(ranks), CLLM_PROGRAM} + arguments);
}

ChildResult ProgramTest::succeed(const Arguments& arguments) const {
  ChildResult result = program(arguments);
  EXPECT_EQ(result.exit_code, 0) << testing::PrintToString(arguments) << result.err;
  EXPECT_EQ(result.err, "");
  return result;
}

ChildResult ProgramTest::succeed_on(int ranks, const Arguments& arguments) const {
  ChildResult result = program_on(ranks, arguments);
  EXPECT_EQ(result.exit_code, 0) << testing::PrintToString(arguments) << result.err;
  return result;
}

void ProgramTest::expect_right_budget(const Arguments& more) const {
  const ChildResult result =
      succeed(Arguments{"--preset", "medium", "--batch", "4", "--steps", "4", "--threads", "1",
                        "--eval-sequences", "4", "--out", "run"} +
              more);
  double budget = 0, peak = 0;
  for (const std::string& line : lines_of(result.out)) {
    if (line.starts_with("memory ")) budget = std::stod(line.substr(7));
    if (line.starts_with("peak ")) peak = std::stod(line.substr(5));
  }
  EXPECT_GT(peak, 0.1);
  EXPECT_NEAR(budget / peak, 1, 0.1) << result.out;
}

Arguments ProgramTest::privately(const std::string& script, const Arguments& arguments) {
  return Arguments{"unshare", "--mount", "sh", "-c", script, "sh"} + arguments;
}

bool ProgramTest::may_mount() const {
  fs::create_directories(path("disk"));
  return run(privately("mount -t tmpfs -o size=1m none disk", {})).exit_code == 0;
}

std::string ProgramTest::preloadable(const std::filesystem::path& library) const {
  const std::string name = library.filename();
  if (!std::filesystem::exists(path(name))) std::filesystem::create_symlink(library, path(name));
  return "./" + name;
}

std::vector<std::pair<std::string, pid_t>> ProgramTest::ranks_with(const std::string& argument) {
  std::vector<std::pair<std::string, pid_t>> found;
  for (const auto& entry : fs::directory_iterator("/proc")) {
    const std::string name = entry.path().filename().string();
    pid_t pid = 0;
    const auto [end, code] = std::from_chars(name.data(), name.data() + name.size(), pid);
    if (code != std::errc() || *end != '\0') continue;
    const std::string command = contents(entry.path() / "cmdline");
    if (!command.starts_with(CLLM_PROGRAM) || command.find(argument) == command.npos) continue;
    const std::string environment = '\0' + contents(entry.path() / "environ");
    std::string rank = "0";  // without mpirun it is the only one
    for (const std::string key : {"OMPI_COMM_WORLD_RANK=", "PMI_RANK="}) {
      const std::size_t at = environment.find('\0' + key);
      if (at != environment.npos) rank = environment.substr(at + 1 + key.size(), 1);
    }
    found.emplace_back(rank, pid);
  }
  return found;
}

pid_t ProgramTest::wait_until_stopped(const std::string& argument) {
  pid_t stopped = 0;
  const auto is_stopped = [&] {
    for (const auto& [rank, pid] : ranks_with(argument)) {
      const std::string status = contents("/proc/" + std::to_string(pid) + "/status");
      if (rank == "0" && status.find("\nState:\tT") != status.npos) stopped = pid;
    }
    return stopped != 0;
  };
  EXPECT_TRUE(wait_until(is_stopped, kPatience)) << "the program did not stop itself";
  return stopped;
}

std::string ProgramTest::write(const std::string& name, const std::string& contents) const {
  fs::create_directories(path(name).parent_path());
  std::ofstream(path(name), std::ios::binary) << contents;
  return path(name).string();
}

std::string ProgramTest::read(const std::string& name) const {
  EXPECT_TRUE(fs::exists(path(name))) << name;
  return contents(path(name));
}

std::vector<std::string> ProgramTest::files_in(const std::string& name) const {
  std::vector<std::string> files;
  std::error_code absent;
  for (const auto& entry : fs::recursive_directory_iterator(path(name), absent)) {
    files.push_back(entry.path().lexically_relative(path(name)).string());
  }
  std::ranges::sort(files);
  return files;
}

std::vector<nlohmann::json> ProgramTest::metrics(const std::string& run,
                                                 const std::string& key) const {
  std::vector<nlohmann::json> objects;
  for (const std::string& line : lines_of(read(run + "/metrics.jsonl"))) {
    const auto object = nlohmann::json::parse(line, nullptr, false);
    EXPECT_TRUE(object.is_object()) << line;
    if (object.contains(key)) objects.push_back(object);
  }
  return objects;
}

std::vector<double> ProgramTest::values(const std::string& run, const std::string& key) const {
  std::vector<double> result;
  for (const auto& object : metrics(run, key)) result.push_back(object.at(key));
  return result;
}

std::vector<int> ProgramTest::steps_with(const std::string& run, const std::string& key) const {
  std::vector<int> steps;
  for (const auto& line : metrics(run, key)) steps.push_back(line.at("step"));
  return steps;
}

std::vector<std::string> ProgramTest::digests(const std::string& checkpoint) const {
  std::vector<std::string> found;
  for (const std::string& line : lines_of(succeed({"inspect", "--tensors", checkpoint}).out)) {
    std::istringstream words(line);
    std::string name, word, last;
    words >> name;
    while (words >> word) last = word;
    if (name.starts_with("/params/") || name.starts_with("/adam/") || name.starts_with("/muon/")) {
      found.push_back(name + " " + last);
    }
  }
  EXPECT_GT(found.size(), 3u);
  return found;
}

Arguments tiny(const std::string& out, int steps, const Arguments& more) {
  return Arguments{"--preset", "tiny", "--batch", "4", "--threads", "1"} +
         Arguments{"--eval-sequences", "8", "--steps", std::to_string(steps), "--out", out} + more;
}

Arguments command_for(int ranks, const Arguments& arguments) {
  const Arguments program = Arguments{CLLM_PROGRAM} + arguments;
  return ranks == 1 ? program : mpirun() + Arguments{"-np", std::to_string(ranks)} + program;
}

Arguments mpirun() {
  // Open MPI's options by their other names, which MPI libraries that need none of it overlook.
  return {"env", "OMPI_MCA_rmaps_base_oversubscribe=1", "OMPI_MCA_hwloc_base_binding_policy=none",
          CLLM_MPIEXEC};
}

std::string sample_text(int lines) {
  constexpr std::array kNouns = {"river", "stone", "lamp", "garden", "letter", "winter", "bridge"};
  constexpr std::array kVerbs = {"carries", "hides", "follows", "remembers", "mends"};
  std::string text;
  for (std::size_t i = 0; i < static_cast<std::size_t>(lines); ++i) {
    text += std::string("the ") + kNouns[i % 7] + ' ' + kVerbs[i * i % 5] + " the " +
            kNouns[(i / 7 + i) % 7] + ", number " + std::to_string(i) + ".\n";
  }
  return text;
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

std::ptrdiff_t count_lines(const std::string& text, const std::string& beginning) {
  return std::ranges::count_if(
      lines_of(text), [&](const std::string& line) { return line.starts_with(beginning); });
}

void expect_one_sentence(const ChildResult& result, const std::string& regex) {
  EXPECT_NE(result.exit_code, 0);
  EXPECT_LT(result.exit_code, 128) << "a signal ended it";
  EXPECT_EQ(count_lines(result.err, "cllm-dist: "), 1) << result.err;
  std::string sentence;
  for (const std::string& line : lines_of(result.err)) {
    if (line.starts_with("cllm-dist: ")) sentence = line;
  }
  EXPECT_TRUE(std::regex_search(sentence, std::regex(regex)))
      << "\"" << sentence << "\" does not match " << regex << "\nstderr was: " << result.err;
}

}  // namespace cllm::cli
