#include "cllm/base/stop_signals.h"

#include <signal.h>

#include <array>
#include <atomic>

namespace cllm {
namespace {

constexpr std::array kSignals = {SIGUSR1, SIGUSR2, SIGTERM};

// A handler may touch lock-free atomics and little else.
std::atomic<int> last_signal = 0;
static_assert(std::atomic<int>::is_always_lock_free);
std::array<struct sigaction, kSignals.size()> before;

void note(int number) { last_signal = number; }

}  // namespace

StopSignals::StopSignals() {
  last_signal = 0;
  struct sigaction action {};
  action.sa_handler = note;
  action.sa_flags = SA_RESTART;
  for (std::size_t i = 0; i < kSignals.size(); ++i) ::sigaction(kSignals[i], &action, &before[i]);
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
