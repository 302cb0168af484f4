#pragma once

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "cllm/base/error.h"

namespace cllm::support {

/// How a program ended, and what it wrote.
struct ChildResult {
  int exit_code = 0;       ///< as a shell has it: 128 + n where signal n ended it
  bool timed_out = false;  ///< it was still running at the end of its time, and was killed
  std::string out = {};
  std::string err = {};
};

/// Waits until `condition()` holds, or for so many seconds; returns whether it holds.
template <typename Condition>
bool wait_until(const Condition& condition, double seconds) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  while (!condition()) {
    if (std::chrono::steady_clock::now() >= deadline) return condition();
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return true;
}

/// A program that runs beside the test, with nothing to read and in a process group of its own.
/// Killed with this object if it still runs. Not thread-safe.
class ChildProcess {
 public:
  /// `command`: the program, which is looked up in PATH, and its arguments. `environment` is put
  /// over that of the test. Throws Error when the program can't be started.
  ChildProcess(const std::vector<std::string>& command, const std::filesystem::path& directory,
               const std::map<std::string, std::string>& environment = {})
      : out_(temporary()), err_(temporary()) {
    std::vector<std::string> settings;
    for (char** setting = environ; *setting != nullptr; ++setting) {
      const std::string text = *setting;
      if (!environment.contains(text.substr(0, text.find('=')))) settings.push_back(text);
    }
    for (const auto& [name, value] : environment) settings.push_back(name + "=" + value);

    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, fileno(out_.get()), STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, fileno(err_.get()), STDERR_FILENO);
    posix_spawn_file_actions_addchdir_np(&actions, directory.c_str());
    posix_spawnattr_t attributes;
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
    const int code = ::posix_spawnp(&pid_, command.front().c_str(), &actions, &attributes,
                                    pointers(command).data(), pointers(settings).data());
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    if (code != 0) fail("cannot start {}: {}", command.front(), std::strerror(code));
  }
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;
  ~ChildProcess() {
    if (!ended_) end();
  }

  pid_t pid() const { return pid_; }

  /// Sends it a signal, where it has not ended.
  void signal(int number) {
    if (is_running()) ::kill(pid_, number);
  }

  bool is_running() { return !ends_within(0); }

  /// What it wrote to stdout up to now.
  std::string out() const { return contents(out_.get()); }

  /// Waits for the end, or kills the program when it takes longer.
  ChildResult wait(double seconds) {
    ChildResult result;
    result.timed_out = !ends_within(seconds);
    if (result.timed_out) end();
    result.exit_code = WIFSIGNALED(status_) ? 128 + WTERMSIG(status_) : WEXITSTATUS(status_);
    result.out = contents(out_.get());
    result.err = contents(err_.get());
    return result;
  }

 private:
  using File = std::unique_ptr<std::FILE, int (*)(std::FILE*)>;

  /// Output goes to a file that has no name, so that a program that writes much never waits.
  static File temporary() {
    File file(std::tmpfile(), &std::fclose);
    if (!file) fail("cannot make a temporary file: {}", std::strerror(errno));
    ::fcntl(fileno(file.get()), F_SETFD, FD_CLOEXEC);
    return file;
  }

  /// Read without the position that the program writes at, which it shares.
  static std::string contents(std::FILE* file) {
    std::string text;
    char buffer[4096];
    ssize_t count = 0;
    while ((count = ::pread(fileno(file), buffer, sizeof(buffer), std::ssize(text))) > 0) {
      text.append(buffer, static_cast<std::size_t>(count));
    }
    return text;
  }

  static std::vector<char*> pointers(const std::vector<std::string>& texts) {
    std::vector<char*> result;
    for (const std::string& text : texts) result.push_back(const_cast<char*>(text.c_str()));
    result.push_back(nullptr);
    return result;
  }

  bool ends_within(double seconds) {
    return wait_until(
        [&] {
          if (!ended_) ended_ = ::waitpid(pid_, &status_, WNOHANG) == pid_;
          return ended_;
        },
        seconds);
  }

  /// Asks first: a launcher of other processes then takes these with it.
  void end() {
    constexpr double kGraceSeconds = 5;
    ::kill(-pid_, SIGTERM);
    if (ends_within(kGraceSeconds)) return;
    ::kill(-pid_, SIGKILL);
    ended_ = ::waitpid(pid_, &status_, 0) == pid_;
  }

  File out_, err_;
  pid_t pid_ = 0;
  int status_ = 0;
  bool ended_ = false;
};

}  // namespace cllm::support
