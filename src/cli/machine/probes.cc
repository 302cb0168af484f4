#include "cllm/cli/machine/probes.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

#include "cllm/base/disk.h"
#include "cllm/base/error.h"
#include "cllm/base/processors.h"
#include "cllm/base/random.h"
#include "cllm/base/stopwatch.h"
#include "cllm/cli/machine/step_bench.h"
#include "cllm/cli/run/room.h"
#include "cllm/kernels/products.h"
#include "cllm/ranks/agreement.h"

namespace cllm::cli {

namespace fs = std::filesystem;
using ranks::ProcessGroup;

namespace {

/// Large enough to show what the kernels can do, small enough for 64 threads with three each.
constexpr std::size_t kProduct = 1024;
constexpr int kProducts = 9;

constexpr std::size_t kSumBytes[] = {64, 4096, std::size_t{256} << 10, std::size_t{4} << 20,
                                     std::size_t{32} << 20};
/// Seconds that one size may take, and the most sums of it.
constexpr double kSumSeconds = 0.25;
constexpr int kMostSums = 200;
constexpr double kSlowSum = 1;

constexpr std::size_t kDiskBytes = std::size_t{64} << 20, kDiskChunk = std::size_t{4} << 20;

double median_rate(int threads) {
  ThreadPool pool(threads);
  ProductBench bench(pool, kProduct, kernels::products());
  bench.run();  // touches everything
  std::vector<double> rates;
  for (int i = 0; i < kProducts; ++i) rates.push_back(bench.run());
  return median(rates);
}

/// Each rank's number, to all.
std::vector<double> gather(double mine, ProcessGroup& process_group) {
  std::vector<double> all;
  for (const std::string& text : process_group.all_gather(nlohmann::json(mine).dump())) {
    all.push_back(nlohmann::json::parse(text).get<double>());
  }
  return all;
}

/// Whether no rank before `rank` is on its host.
bool is_first_of_host(const std::vector<ranks::Site>& sites, std::size_t rank) {
  const auto first = std::ranges::find(sites, sites[rank].host, &ranks::Site::host);
  return first == sites.begin() + static_cast<std::ptrdiff_t>(rank);
}

/// Writes and syncs the file, and removes it in any case. Returns the seconds.
double write_and_remove(const fs::path& path) {
  std::vector<std::uint32_t> chunk(kDiskChunk / sizeof(std::uint32_t));
  RandomStream random(1, 0);  // what a file system can't compress
  for (std::uint32_t& word : chunk) word = static_cast<std::uint32_t>(random.below(1u << 31));
  const Stopwatch clock;
  const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (file < 0) fail("cannot write {}: {}", path.string(), std::strerror(errno));
  int error = 0;
  for (std::size_t done = 0; error == 0 && done < kDiskBytes;) {
    const ssize_t put = ::write(file, chunk.data(), kDiskChunk);
    if (put >= 0) {
      done += static_cast<std::size_t>(put);
    } else if (errno != EINTR) {
      error = errno;
    }
  }
  if (error == 0 && ::fsync(file) != 0) error = errno;
  const double seconds = clock.elapsed();
  ::close(file);
  ::unlink(path.c_str());
  if (error != 0) fail("cannot write {}: {}", path.string(), std::strerror(error));
  return seconds;
}

}  // namespace

std::vector<ProductRates> measure_products(const Machine& machine, ProcessGroup& process_group) {
  const std::vector<ranks::Site>& sites = machine.sites;
  const auto rank = static_cast<std::size_t>(process_group.rank());
  double one = 0, all = 0;
  ranks::in_agreement(process_group, [&] {
    if (is_first_of_host(sites, rank)) one = median_rate(1);
  });
  ranks::in_agreement(process_group, [&] { all = median_rate(machine.threads); });
  const std::vector<double> ones = gather(one, process_group), alls = gather(all, process_group);
  std::vector<ProductRates> hosts;
  for (std::size_t r = 0; r < sites.size(); ++r) {
    if (is_first_of_host(sites, r)) hosts.push_back({.host = sites[r].host, .one = ones[r]});
    ProductRates& host = *std::ranges::find(hosts, sites[r].host, &ProductRates::host);
    host.all += alls[r];
    host.threads += sites[r].threads;
  }
  return hosts;
}

std::vector<SumTime> measure_sums(ranks::Allreduce method, ProcessGroup& process_group) {
  std::vector<SumTime> times;
  // Of its own: it may itself be a matter of all ranks.
  ranks::in_agreement(process_group, [&] { process_group.use(method); });
  std::vector<std::int32_t> values;
  for (const std::size_t bytes : kSumBytes) {
    if (!times.empty() && times.back().seconds * static_cast<double>(bytes) /
                                  static_cast<double>(times.back().bytes) >
                              kSlowSum) {
      break;
    }
    ranks::in_agreement(process_group, [&] { values.assign(bytes / sizeof(values[0]), 1); });
    process_group.all_reduce(values);  // connects
    Stopwatch clock;
    process_group.all_reduce(values);
    const double guess = slowest(clock.elapsed(), process_group);
    std::vector<double> seconds = {guess};
    const int sums = std::clamp(static_cast<int>(kSumSeconds / guess), 1, kMostSums);
    for (int i = 0; i < sums; ++i) {
      clock.lap();
      process_group.all_reduce(values);
      seconds.push_back(clock.lap());
    }
    times.push_back({bytes, slowest(median(seconds), process_group)});
  }
  return times;
}

double slowest(double seconds, ProcessGroup& process_group) {
  return std::ranges::max(gather(seconds, process_group));
}

DiskRate measure_disk(const fs::path& directory, std::uint64_t checkpoint,
                      ProcessGroup& process_group) {
  const std::string text = ranks::on_rank_0(process_group, [&] {
    const double seconds = write_and_remove(
        directory / fmt::format(".doctor.{}.{}.cllm-tmp", host_name(), ::getpid()));
    return nlohmann::json{static_cast<double>(kDiskBytes) / seconds, free_bytes(directory),
                          room_warning(directory, {.bytes = checkpoint, .at_once = 2}, false)}
        .dump();
  });
  const nlohmann::json figures = nlohmann::json::parse(text);
  return {.bytes_per_second = figures.at(0), .free_bytes = figures.at(1), .room = figures.at(2)};
}

}  // namespace cllm::cli
