#include <fmt/core.h>
#include <signal.h>

#include <cstdio>
#include <new>

#include "cllm/base/denormals.h"
#include "cllm/base/error.h"
#include "cllm/base/fail_point.h"
#include "cllm/base/stop_signals.h"
#include "cllm/cli/launch.h"
#include "cllm/cli/program.h"
#include "cllm/kernels/blas.h"
#include "cllm/mpi/environment.h"
#include "cllm/mpi/world.h"

namespace {

constexpr int kFailure = 1;

void say(const cllm::mpi::World& world, const char* what) {
  if (world.size() == 1 || world.rank() == 0) {
    fmt::print(stderr, "cllm-dist: {}\n", what);
  } else {
    fmt::print(stderr, "cllm-dist: rank {}: {}\n", world.rank(), what);
  }
  std::fflush(stderr);
}

}  // namespace

/// The one place where errors end. An error that all ranks share is said by rank 0, and all leave;
/// one that a single rank met is said by it, and it takes the others down, which may be waiting for
/// it.
int main(int argc, char** argv) {
  try {
    cllm::flush_denormals();
    const auto slow_blas = cllm::kernels::restart_with_better_blas_core(argv);
    // From here on: who asks for a stop while MPI starts or ends means no crash. It is never
    // destroyed, because a signal that comes when the exit code is known must not become it.
    static cllm::StopSignals& signals = *new cllm::StopSignals;
    // A file that outgrows a limit is then an error like others.
    ::signal(SIGXFSZ, SIG_IGN);
    cllm::fail_point("mpi.starts");
    if (!cllm::cli::may_start_mpi(cllm::cli::read_launch())) return kFailure;
    cllm::mpi::Environment environment(argc, argv);
    cllm::mpi::World world;
    if (slow_blas && world.rank() == 0) say(world, slow_blas->c_str());
    try {
      const int exit_code = cllm::cli::run_program({argv + 1, argv + argc}, world, signals);
      cllm::fail_point("mpi.ends");
      if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return exit_code;
      say(world, "cannot write to standard output; what was to be printed is lost");
    } catch (const cllm::ReplicatedError& error) {
      if (world.rank() == 0) say(world, error.what());
      return kFailure;
    } catch (const std::bad_alloc&) {
      say(world, "out of memory; use a smaller model or --micro-batch, or fewer ranks per host");
    } catch (const std::exception& error) {
      say(world, error.what());
    }
    std::fflush(stdout);
    if (world.size() > 1) cllm::mpi::abort(kFailure);
    return kFailure;
  } catch (const std::exception& error) {
    fmt::print(stderr, "cllm-dist: {}\n", error.what());
    return kFailure;
  }
}
