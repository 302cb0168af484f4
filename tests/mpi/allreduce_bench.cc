// How long a sum over all ranks takes, what it costs in processor time, and what it leaves to
// compute threads that run meanwhile. An MPI program; --help lists its options.
//
//   mpirun -np 2 --bind-to none allreduce_bench --method ring --mib 64 --busy 1
//
// tests/bench/allreduce_bench.sh runs it on virtual hosts.
//
// One line for each method and size, from rank 0:
//   median, least   wall-clock times in ms of rank 0's calls, which follow each other without pause
//   thread, process processor time of a call in ms, of the thread that sums and of the whole
//                   process but its compute threads: user and system, the mean of the ranks
//   compute         the share of a processor that a compute thread had while sums followed each
//                   other without pause, and while there were none; the mean of all
//   bound           the time that the model of costs (collectives/cost_model.h) has for N hosts
//   with
//                   links of --gbit and --latency-ms, and ranks that need no time; and median and
//                   least over it
//
// With --probe, first what a run measures of messages at its start, and how long that takes.
#include <fmt/core.h>
#include <mpi.h>
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "cllm/base/stopwatch.h"
#include "cllm/collectives/cost_model.h"
#include "cllm/mpi/communicator.h"
#include "cllm/mpi/environment.h"
#include "cllm/mpi/sums.h"
#include "cllm/mpi/world.h"

namespace cllm::mpi {
namespace {

struct Options {
  std::vector<std::string> methods = {"mpi", "flat", "ring"};
  std::vector<double> mebibytes = {1, 8, 64};
  collectives::Tuning tuning;
  int busy = 0;
  int repeat = 10;
  double gbit = 0, latency_ms = 0;
  bool probe = false;
};

double cpu_seconds(int who) {
  rusage usage{};
  getrusage(who, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

/// Threads that multiply and add in registers until they are told to stop, and say what processor
/// time they had.
class ComputeThreads {
 public:
  explicit ComputeThreads(int count) : times_(new Time[static_cast<std::size_t>(count)]) {
    for (int i = 0; i < count; ++i) {
      threads_.emplace_back([this, i] { compute(times_[static_cast<std::size_t>(i)]); });
    }
  }
  ComputeThreads(const ComputeThreads&) = delete;
  ComputeThreads& operator=(const ComputeThreads&) = delete;
  ~ComputeThreads() {
    stop_ = true;
    for (std::thread& thread : threads_) thread.join();
  }

  double cpu_seconds() const {
    std::uint64_t nanoseconds = 0;
    for (std::size_t i = 0; i < threads_.size(); ++i) nanoseconds += times_[i].nanoseconds;
    return 1e-9 * static_cast<double>(nanoseconds);
  }

 private:
  struct alignas(64) Time {
    std::atomic<std::uint64_t> nanoseconds = 0;
  };

  void compute(Time& time) {
    std::array<float, 64> x{};
    while (!stop_) {
      for (int i = 0; i < 10'000; ++i) {
        for (float& value : x) value = value * 0.999f + 0.001f;
      }
      // Keeps the loop from being taken out.
      asm volatile("" : : "r"(x.data()) : "memory");
      timespec used{};
      clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
      time.nanoseconds = static_cast<std::uint64_t>(used.tv_sec) * 1'000'000'000u +
                         static_cast<std::uint64_t>(used.tv_nsec);
    }
  }

  std::unique_ptr<Time[]> times_;
  std::atomic<bool> stop_ = false;
  std::vector<std::thread> threads_;
};

double mean(double mine, int ranks) {
  double sum = 0;
  MPI_Allreduce(&mine, &sum, 1, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
  return sum / ranks;
}

/// What a stretch of time, or several, used and got done.
struct Usage {
  double seconds = 0, thread = 0, process = 0, compute = 0;

  static Usage now(const ComputeThreads& threads) {
    return {
        std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(),
        cpu_seconds(RUSAGE_THREAD), cpu_seconds(RUSAGE_SELF) - threads.cpu_seconds(),
        threads.cpu_seconds()};
  }
  void add_since(const Usage& start, const Usage& end) {
    seconds += end.seconds - start.seconds;
    thread += end.thread - start.thread;
    process += end.process - start.process;
    compute += end.compute - start.compute;
  }
};

void measure(const Options& options, const std::string& method, double mebibytes, World& world) {
  using collectives::Pattern;
  Sums sums(MPI_COMM_WORLD, true, options.tuning);
  const auto hosts = static_cast<int>(sums->hosts().count());
  const double bytes = mebibytes * 1024 * 1024;
  std::vector<float> values(static_cast<std::size_t>(bytes) / sizeof(float), 0.f);
  const auto sum = [&] {
    if (method == "mpi") return world.all_reduce(values);
    sums->all_reduce(std::span(values),
                     {method == "halving" ? Pattern::kHalving : Pattern::kRing, method != "flat"});
  };
  for (int i = 0; i < 2; ++i) sum();

  const ComputeThreads threads(options.busy);
  const int calls = static_cast<int>(std::clamp(64 / mebibytes, 1., 16.));
  std::vector<double> times;
  Usage with, without;
  // By turns, because other programs may disturb one for a while.
  for (int i = 0; i < options.repeat; ++i) {
    MPI_Barrier(MPI_COMM_WORLD);
    const Usage start = Usage::now(threads);
    if (options.busy > 0) std::this_thread::sleep_for(std::chrono::milliseconds(100));
    const Usage middle = Usage::now(threads);
    without.add_since(start, middle);
    MPI_Barrier(MPI_COMM_WORLD);
    const Usage again = Usage::now(threads);
    for (int call = 0; call < calls; ++call) {
      const Stopwatch watch;
      sum();
      times.push_back(watch.elapsed());
    }
    with.add_since(again, Usage::now(threads));
  }
  std::ranges::sort(times);
  const double median = 1e3 * times[times.size() / 2];
  const double per_call = 1e3 / (calls * options.repeat);
  const double thread = mean(with.thread * per_call, world.size());
  const double process = mean(with.process * per_call, world.size());
  const double busy = std::max(options.busy, 1);
  const double compute = mean(with.compute / (with.seconds * busy), world.size());
  const double alone = mean(without.compute / (without.seconds * busy), world.size());
  if (world.rank() != 0) return;
  fmt::print(
      "{:4} hosts {} ranks {} busy {} {:5} MiB: median {:8.2f} least {:8.2f} thread {:8.2f} "
      "process {:8.2f} compute {:.2f}/{:.2f}",
      method, hosts, world.size(), options.busy, mebibytes, median, 1e3 * times.front(), thread,
      process, compute, alone);
  if (options.gbit > 0 && hosts > 1) {
    const collectives::Costs link = {.network = {1e-3 * options.latency_ms, 8e-9 / options.gbit}};
    const double bound =
        1e3 * collectives::seconds_of(method == "halving" ? Pattern::kHalving : Pattern::kRing,
                                      {.hosts = sums->hosts().count(),
                                       .ranks = sums->hosts().most_ranks(),
                                       .lanes = sums->lanes()},
                                      static_cast<std::size_t>(bytes), link, options.tuning);
    fmt::print(" bound {:8.2f} ratio {:.3f} {:.3f}", bound, median / bound,
               1e3 * times.front() / bound);
  }
  fmt::print("\n");
  std::fflush(stdout);
}

}  // namespace
}  // namespace cllm::mpi

int main(int argc, char** argv) {
  cllm::mpi::Environment environment(argc, argv);
  cllm::mpi::Options options;
  CLI::App app("Times sums over all ranks");
  cllm::collectives::Tuning& tuning = options.tuning;
  std::size_t segment_kib = tuning.segment_bytes >> 10;
  std::size_t piece_kib = tuning.piece_bytes >> 10;
  app.add_option("--method", options.methods, "mpi, flat, ring, halving, or several");
  app.add_option("--mib", options.mebibytes, "sizes of the arrays");
  app.add_option("--segment-kib", segment_kib, "length of the ring's messages");
  app.add_option("--in-flight", tuning.in_flight, "messages under way each way");
  app.add_option("--shortest-us", tuning.shortest_sleep_microseconds, "first sleep");
  app.add_option("--longest-us", tuning.longest_sleep_microseconds, "longest sleep");
  app.add_option("--piece-kib", piece_kib, "length of pieces in shared memory");
  app.add_option("--slots", tuning.slots, "pieces under way in shared memory");
  app.add_option("--lanes", tuning.most_lanes, "the most lanes of the ring by hosts");
  app.add_option("--busy", options.busy, "compute threads of each rank");
  app.add_option("--repeat", options.repeat, "sums that are timed");
  app.add_option("--gbit", options.gbit, "Gbit/s of a link each way, for the bound");
  app.add_option("--latency-ms", options.latency_ms, "delay of a link, for the bound");
  app.add_flag("--probe", options.probe, "measure messages first");
  CLI11_PARSE(app, argc, argv);
  tuning.segment_bytes = segment_kib << 10;
  tuning.piece_bytes = piece_kib << 10;
  cllm::mpi::World world;
  if (options.probe) {
    const cllm::Stopwatch watch;
    world.use(cllm::ranks::Allreduce::kAuto);
    const double seconds = watch.elapsed();
    if (world.rank() == 0) fmt::print("probe {:.3f} s: {}\n", seconds, world.sums_text());
    world.use(cllm::ranks::Allreduce::kMpi);
  }
  for (const double mebibytes : options.mebibytes) {
    for (const std::string& method : options.methods) {
      cllm::mpi::measure(options, method, mebibytes, world);
    }
  }
}
