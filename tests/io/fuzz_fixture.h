#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <functional>
#include <sstream>
#include <string>
#include <string_view>

#include "cllm/base/error.h"
#include "cllm/base/random.h"
#include "support/environment.h"
#include "support/scratch_directory.h"

// Spoiled files. Each either reads as what was written, bit for bit, or is refused with one
// sentence that names it: no crash, no hang, no large allocation, nothing left open. Cases run in
// processes of their own, so that a crash is one failure that names its case.
//
// CLLM_FUZZ counts the cases of each test, CLLM_FUZZ_FIRST is the number of the first.
namespace cllm::io {

inline constexpr unsigned kFuzzSeconds = 20;            // of one case, on a busy machine
inline constexpr std::uint64_t kCasesOfAProcess = 250;  // forking costs more than a case

/// Whether `read` succeeds; false is a proper refusal. What is neither is said in `complaint`.
inline bool reads(const std::filesystem::path& path, std::string& complaint,
                  const std::function<void()>& read) {
  try {
    read();
    return true;
  } catch (const Error& error) {
    const std::string message = error.what();
    if (message.find(path.string()) == message.npos || message.find('\n') != message.npos) {
      complaint += "not one sentence that names the file: " + message + "; ";
    }
  } catch (const std::exception& other) {
    complaint += fmt::format("another exception than Error: {}; ", other.what());
  }
  return false;
}

/// What a process of its own said, and how it ended; empty where it ended well.
struct Ending {
  std::string said, how;
};

using Say = std::function<void(std::string_view)>;

inline Ending run_apart(const std::function<void(const Say&)>& action) {
  std::array<int, 2> ends;
  if (::pipe(ends.data()) != 0) return {.said = {}, .how = "no pipe"};
  const pid_t child = ::fork();
  if (child == 0) {
    ::alarm(kFuzzSeconds);
    action([&](std::string_view text) {
      [[maybe_unused]] const ssize_t put = ::write(ends[1], text.data(), text.size());
    });
    ::_exit(0);
  }
  ::close(ends[1]);
  Ending ending;
  std::array<char, 4096> buffer;
  for (ssize_t got = 0; (got = ::read(ends[0], buffer.data(), buffer.size())) > 0;) {
    ending.said.append(buffer.data(), static_cast<std::size_t>(got));
  }
  ::close(ends[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  if (WIFSIGNALED(status)) ending.how = fmt::format("ended by signal {}", WTERMSIG(status));
  if (WIFEXITED(status) && WEXITSTATUS(status) != 0) {
    ending.how = fmt::format("ended with code {}", WEXITSTATUS(status));
  }
  return ending;
}

/// Runs `judge` in a process of its own and returns its complaint, or how it ended.
inline std::string in_a_process(const std::function<std::string()>& judge) {
  const Ending ending = run_apart([&](const Say& say) { say(judge()); });
  return ending.how.empty() ? ending.said : ending.how;
}

class FuzzTest : public testing::Test {
 protected:
  /// Runs the case of each number. `spoil` makes the file, `judge` reads it and complains.
  void fuzz(std::uint64_t stream, const std::function<void(RandomStream&)>& spoil,
            const std::function<std::string()>& judge) const {
    const std::uint64_t first = support::count_from_environment("CLLM_FUZZ_FIRST", 0);
    const std::uint64_t end = first + support::count_from_environment("CLLM_FUZZ", 125);
    for (std::uint64_t number = first; number < end;) {
      const std::uint64_t last = std::min(end, number + kCasesOfAProcess);
      const Ending ending = run_apart([&](const Say& say) {
        for (std::uint64_t i = number; i < last; ++i) {
          ::alarm(kFuzzSeconds);
          RandomStream random(i, stream);
          spoil(random);
          std::string complaint = judge();
          std::ranges::replace(complaint, '\n', ' ');
          say(complaint + "\n");
        }
      });
      // A line a case: the one without is that which ended the process.
      std::istringstream lines(ending.said);
      for (std::string line; std::getline(lines, line); ++number) {
        EXPECT_EQ(line, "") << "case " << number;
      }
      if (ending.how.empty()) continue;
      ADD_FAILURE() << "case " << number << ": " << ending.how;
      ++number;
    }
  }

  void write(const std::string& bytes) const { directory_.write(path_.filename(), bytes); }

  support::ScratchDirectory directory_;
  std::filesystem::path path_ = directory_.path() / "spoiled";
};

}  // namespace cllm::io
