#include "cllm/base/stop_signals.h"

#include <signal.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <string_view>

namespace cllm {
namespace {

constexpr std::array kSignals = {SIGUSR1, SIGUSR2, SIGTERM, SIGINT, SIGHUP};

constexpr std::string_view kInterrupted =
    "\ncllm-dist: stops and saves after this step; Ctrl-C again ends it at once\n";

// A handler may touch lock-free atomics and little else.
std::atomic<int> last_signal = 0;
std::atomic<bool> is_interrupted = false, has_terminal = false;
static_assert(std::atomic<int>::is_always_lock_free && std::atomic<bool>::is_always_lock_free);
std::array<struct sigaction, kSignals.size()> before;

void note(int number) {
  last_signal = number;
  if (number != SIGINT) return;
  if (is_interrupted.exchange(true)) {
    ::signal(SIGINT, SIG_DFL);
    ::raise(SIGINT);  // comes when this handler is left
  } else if (has_terminal) {
    [[maybe_unused]] const ssize_t said =
        ::write(STDERR_FILENO, kInterrupted.data(), kInterrupted.size());
  }
}

bool is_of_terminals(int number) { return number == SIGINT || number == SIGHUP; }

}  // namespace

StopSignals::StopSignals() {
  last_signal = 0;
  is_interrupted = false;
  has_terminal = ::isatty(STDERR_FILENO) != 0;
  struct sigaction action {};
  action.sa_handler = note;
  action.sa_flags = SA_RESTART;
  for (std::size_t i = 0; i < kSignals.size(); ++i) {
    ::sigaction(kSignals[i], nullptr, &before[i]);
    if (is_of_terminals(kSignals[i]) && before[i].sa_handler == SIG_IGN) continue;
    ::sigaction(kSignals[i], &action, nullptr);
  }
}

void StopSignals::restore() {
  for (std::size_t i = 0; i < kSignals.size(); ++i) ::sigaction(kSignals[i], &before[i], nullptr);
}

int StopSignals::received() const { return last_signal; }

void StopSignals::give_up() {
  restore();
  if (const int number = last_signal.exchange(0); number != 0) ::raise(number);
}

}  // namespace cllm
