// What sums over many hosts would take, by the model of costs and on a virtual clock that runs the
// code itself. No MPI; --help lists its options.
//
//   simulate_sums --hosts 64 --hosts 1024 --mib 1 --gbit 25 --latency-us 20
//
// For each number of hosts, from which size on the ring is the quicker way, and what buckets should
// have at least; for each size and way, milliseconds by both, and what the simulation took.
#include <fmt/core.h>
#include <sys/mman.h>

#include <CLI/CLI.hpp>
#include <cstddef>
#include <cstdio>
#include <span>
#include <vector>

#include "cllm/base/error.h"
#include "cllm/base/stopwatch.h"
#include "cllm/collectives/cost_model.h"
#include "cllm/collectives/virtual_ranks.h"

namespace cllm::collectives {
namespace {

/// Addresses without memory behind them: what has no content is never touched.
std::span<float> untouched(std::size_t elements) {
  void* const at = ::mmap(nullptr, elements * sizeof(float), PROT_NONE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (at == MAP_FAILED) fail("no room for {} addresses; give less --mib", elements);
  return {static_cast<float*>(at), elements};
}

void simulate(int hosts, double mebibytes, const Costs& costs) {
  const auto elements = static_cast<std::size_t>(mebibytes * (1 << 20)) / sizeof(float);
  const std::vector<std::span<float>> values(static_cast<std::size_t>(hosts), untouched(elements));
  for (const Pattern pattern : {Pattern::kHalving, Pattern::kRing}) {
    const Stopwatch clock;
    VirtualRanks ranks(Hosts::alone(hosts), costs, {}, Simulated::kTimes);
    const double seconds = ranks.run<float>(Collective::kAllReduce, values, {}, {pattern});
    const double model = seconds_of(pattern, {.hosts = static_cast<std::size_t>(hosts)},
                                    elements * sizeof(float), costs);
    fmt::print(
        "{:5} hosts {:6} MiB {:7}: simulated {:9.3f} ms, model {:9.3f} ms; {} messages, {:.1f} s\n",
        hosts, mebibytes, pattern == Pattern::kRing ? "ring" : "halving", 1e3 * seconds,
        1e3 * model, ranks.network().messages(), clock.elapsed());
    std::fflush(stdout);
  }
  ::munmap(values.front().data(), elements * sizeof(float));
}

}  // namespace
}  // namespace cllm::collectives

int main(int argc, char** argv) {
  using namespace cllm::collectives;
  std::vector<int> hosts = {2, 4, 16, 64, 256, 1024};
  std::vector<double> mebibytes = {0.25, 1, 4};
  double gbit = 25, latency = 20, message = 2, addition = 10;
  CLI::App app("What sums over many hosts would take");
  app.add_option("--hosts", hosts, "numbers of hosts, of one rank each");
  app.add_option("--mib", mebibytes, "sizes of the arrays");
  app.add_option("--gbit", gbit, "Gbit/s of a link, each way");
  app.add_option("--latency-us", latency, "microseconds until a message is there");
  app.add_option("--message-us", message, "microseconds of a thread for each message");
  app.add_option("--add-gbyte", addition, "GB/s that a thread adds");
  CLI11_PARSE(app, argc, argv);
  const Costs costs = {.network = {1e-6 * latency, 8e-9 / gbit},
                       .per_message = 1e-6 * message,
                       .per_added_byte = 1e-9 / addition};
  for (const int count : hosts) {
    const Cluster cluster = {.hosts = static_cast<std::size_t>(count)};
    const Choice choice = choose(cluster, costs);
    fmt::print("{:5} hosts: halving below {:.0f} KiB; buckets of {:.0f} KiB and more\n", count,
               static_cast<double>(choice.halving_below) / 1024,
               static_cast<double>(choice.worthwhile_bytes) / 1024);
    for (const double size : mebibytes) simulate(count, size, costs);
  }
}
