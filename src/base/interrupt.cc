#include "cllm/base/interrupt.h"

#include <signal.h>

#include <atomic>

namespace cllm {
namespace {

std::atomic<bool> has_come = false;
static_assert(std::atomic<bool>::is_always_lock_free);  // as a handler needs it
struct sigaction before;

}  // namespace

Interrupt::Interrupt() {
  has_come = false;
  struct sigaction action {};
  action.sa_handler = [](int) { has_come = true; };
  action.sa_flags = SA_RESTART;  // output is not to be cut short; who waits for input polls
  ::sigaction(SIGINT, nullptr, &before);
  if (before.sa_handler != SIG_IGN) ::sigaction(SIGINT, &action, nullptr);
}

Interrupt::~Interrupt() { ::sigaction(SIGINT, &before, nullptr); }

bool Interrupt::came() const { return has_come; }
void Interrupt::clear() { has_come = false; }

}  // namespace cllm
