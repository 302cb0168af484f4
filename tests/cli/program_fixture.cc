#include "program_fixture.h"

#include <algorithm>
#include <array>
#include <fstream>
#include <regex>
#include <sstream>

namespace cllm::cli {

namespace fs = std::filesystem;

Arguments operator+(Arguments first, const Arguments& second) {
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

ChildResult ProgramTest::run(const Arguments& command) const {
  // Ranks share cores with other tests, and nobody may wait by spinning.
  support::ChildProcess child(command, directory(),
                              {{"OMPI_ALLOW_RUN_AS_ROOT", "1"},
                               {"OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1"},
                               {"OMPI_MCA_mpi_yield_when_idle", "1"},
                               {"OMP_WAIT_POLICY", "passive"}});
  ChildResult result = child.wait(kPatience);
  if (result.timed_out) {
    ADD_FAILURE() << "hangs: " << testing::PrintToString(command) << " was still running after "
                  << kPatience << " s\n"
                  << result.out << result.err;
  }
  return result;
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

std::string ProgramTest::write(const std::string& name, const std::string& contents) const {
  fs::create_directories(path(name).parent_path());
  std::ofstream(path(name), std::ios::binary) << contents;
  return path(name).string();
}

std::string ProgramTest::read(const std::string& name) const {
  std::ifstream file(path(name), std::ios::binary);
  EXPECT_TRUE(file.is_open()) << name;
  return {std::istreambuf_iterator<char>(file), {}};
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

std::vector<std::string> ProgramTest::digests(const std::string& checkpoint) const {
  std::vector<std::string> found;
  for (const std::string& line : lines_of(succeed({"inspect", "--tensors", checkpoint}).out)) {
    std::istringstream words(line);
    std::string name, word, last;
    words >> name;
    while (words >> word) last = word;
    if (name.starts_with("/params/") || name.starts_with("/adam/")) {
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

Arguments mpirun() { return {CLLM_MPIEXEC, "--oversubscribe", "--bind-to", "none"}; }

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
