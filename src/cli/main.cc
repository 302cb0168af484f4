#include <fmt/format.h>
#include <signal.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <limits>
#include <new>

#include "cllm/base/denormals.h"
#include "cllm/base/error.h"
#include "cllm/base/fail_point.h"
#include "cllm/base/memory.h"
#include "cllm/base/output.h"
#include "cllm/base/processors.h"
#include "cllm/base/stop_signals.h"
#include "cllm/cli/machine/launch.h"
#include "cllm/cli/machine/start_limit.h"
#include "cllm/cli/program.h"
#include "cllm/kernels/blas.h"
#include "cllm/mpi/environment.h"
#include "cllm/mpi/world.h"
#include "cllm/ranks/process_group.h"

namespace {

constexpr int kFailure = 1;

constexpr const char* kOutputLost =
    "cannot write to standard output; what was to be printed is lost";

void say(const char* what) { cllm::put(stderr, fmt::format("cllm-dist: {}\n", what)); }

/// The same of what this rank alone has met.
void say_alone(const cllm::mpi::World& world, const char* what) {
  if (world.size() == 1) return say(what);
  say(fmt::format("rank {} (host {}): {}", world.rank(), cllm::host_name(), what).c_str());
}

/// The same of the exception that is being handled.
void say_exception(const cllm::mpi::World& world) {
  try {
    throw;
  } catch (const std::bad_alloc&) {
    const bool is_limited = cllm::address_space_left() < std::numeric_limits<std::uint64_t>::max();
    say_alone(world, is_limited
                         ? "out of memory within the limit on address space (ulimit -v); raise it"
                         : "out of memory; use a smaller model or --micro-batch, or fewer ranks "
                           "per host");
  } catch (const std::exception& error) {
    say_alone(world, error.what());
  } catch (...) {
    say_alone(world, "an error of unknown kind; please report it");
  }
}

const cllm::mpi::World* everyone = nullptr;

/// An exception where none may leave, such as in a compute thread, ends the job in words too.
[[noreturn]] void end_at_exception() {
  if (std::current_exception()) {
    say_exception(*everyone);
  } else {
    say_alone(*everyone, "an error in the program; please report it");
  }
  cllm::mpi::abort(kFailure);
}

/// A command without MPI.
int run_alone(const cllm::cli::Arguments& arguments, cllm::StopSignals& signals) {
  cllm::ranks::SingleProcess alone;
  const int exit_code = cllm::cli::run_program(arguments, alone, signals, {});
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return exit_code;
  cllm::fail("{}", kOutputLost);
}

}  // namespace

/// The one place where errors end. An error that all ranks share is said by rank 0, and all leave;
/// one that a single rank met is said by it, and it takes the others down, which may be waiting for
/// it.
int main(int argc, char** argv) {
  cllm::cli::end_start_limit();
  try {
    cllm::flush_denormals();
    if (cllm::undo_openmp_places()) cllm::start_again(argv);
    const auto slow_blas = cllm::kernels::restart_with_better_blas_core(argv);
    // From here on: who asks for a stop while MPI starts or ends means no crash. It is never
    // destroyed, because a signal that comes when the exit code is known must not become it.
    static cllm::StopSignals& signals = *new cllm::StopSignals;
    // A file that outgrows a limit is then an error like others.
    ::signal(SIGXFSZ, SIG_IGN);
    const cllm::cli::Arguments arguments(argv + 1, argv + argc);
    const cllm::cli::Launch launch = cllm::cli::read_launch();
    // Where a launcher started others too, these may have been given something else, and wait.
    if (launch.ranks == 1 && !cllm::cli::needs_ranks(arguments)) {
      return run_alone(arguments, signals);
    }
    cllm::fail_point("mpi.starts");
    // Asked before MPI starts, by the one that will know, and for no command but training, which
    // has no name.
    const bool asks = launch.rank == 0 && (argc < 2 || argv[1][0] == '-');
    const auto job = asks ? cllm::cli::slurm_time_left() : cllm::cli::TimeLeft();
    if (!cllm::cli::may_start_mpi(launch)) return kFailure;
    cllm::mpi::Environment environment(argc, argv);
    cllm::mpi::World world;
    everyone = &world;
    std::set_terminate(end_at_exception);
    if (slow_blas && world.rank() == 0) say(slow_blas->c_str());
    try {
      const int exit_code = cllm::cli::run_program(arguments, world, signals, job);
      cllm::fail_point("mpi.ends");
      if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return exit_code;
      say_alone(world, kOutputLost);
    } catch (const cllm::ReplicatedError& error) {
      if (world.rank() == 0) say(error.what());
      return kFailure;
    } catch (const std::exception&) {
      say_exception(world);
    }
    std::fflush(stdout);
    if (world.size() > 1) cllm::mpi::abort(kFailure);
    return kFailure;
  } catch (const std::exception& error) {
    say(error.what());
    return kFailure;
  }
}
