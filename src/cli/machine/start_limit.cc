#include "cllm/cli/machine/start_limit.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <unistd.h>

#include <cstdlib>
#include <string_view>

namespace cllm::cli {
namespace {

constexpr time_t kSeconds = 3;

constexpr std::string_view kTooLow =
    "cllm-dist: the limit on address space (ulimit -v) is too low for the program's libraries; "
    "raise it, or set none\n";

/// Whether a launcher calls this process another than the first, which speaks for all.
bool is_another_rank() {
  for (const char* variable : {"OMPI_COMM_WORLD_RANK", "PMI_RANK", "SLURM_PROCID"}) {
    const char* const rank = std::getenv(variable);
    if (rank != nullptr) return std::string_view(rank) != "0";
  }
  return false;
}

void say_and_end(int) {
  if (!is_another_rank()) {
    [[maybe_unused]] const ssize_t said = ::write(STDERR_FILENO, kTooLow.data(), kTooLow.size());
  }
  std::_Exit(EXIT_FAILURE);
}

void set_timer(time_t seconds) {
  itimerval timer{};
  timer.it_value.tv_sec = seconds;
  ::setitimer(ITIMER_PROF, &timer, nullptr);
}

bool is_limited = false;

void begin_start_limit(int, char**, char**) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return;
  is_limited = true;
  ::signal(SIGPROF, say_and_end);
  set_timer(kSeconds);
}

/// What stands here is called before any library begins.
[[gnu::section(".preinit_array"), gnu::used]] void (*const before_all)(int, char**,
                                                                       char**) = begin_start_limit;

}  // namespace

void end_start_limit() {
  if (!is_limited) return;
  set_timer(0);
  ::signal(SIGPROF, SIG_DFL);
}

}  // namespace cllm::cli
