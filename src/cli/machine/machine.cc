#include "cllm/cli/machine/machine.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <optional>
#include <random>
#include <span>
#include <thread>
#include <utility>

#include "cllm/base/denormals.h"
#include "cllm/base/digest.h"
#include "cllm/base/disk.h"
#include "cllm/base/error.h"
#include "cllm/base/memory.h"
#include "cllm/base/parallel.h"
#include "cllm/base/processors.h"
#include "cllm/base/stopwatch.h"
#include "cllm/cli/machine/binding.h"
#include "cllm/kernels/blas.h"
#include "cllm/ranks/agreement.h"
#include "cllm/ranks/ranks.h"

namespace cllm::cli {

namespace fs = std::filesystem;
using ranks::in_agreement;

namespace {

/// Seconds that a network file system may take to show a host what another wrote.
constexpr double kToAppear = 5;

/// An empty file from construction to destruction, under a name that nobody has asked for before,
/// so that no host has its absence in a cache. Left behind, it goes with other unfinished files.
class Trace {
 public:
  explicit Trace(const fs::path& directory)
      : path_(directory / fmt::format(".seen.{:08x}.cllm-tmp", std::random_device()())) {
    const int file = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (file < 0) fail("cannot write into {}: {}", directory.string(), std::strerror(errno));
    ::close(file);
  }
  Trace(const Trace&) = delete;
  Trace& operator=(const Trace&) = delete;
  ~Trace() { ::unlink(path_.c_str()); }
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

/// Places of a part of the data that are compared, and tokens at each.
constexpr std::size_t kPlaces = 256, kPlaceTokens = 1024;

/// The digest of evenly spaced stretches of tokens, from the first to the last.
std::string sample_digest(const data::TokenView& tokens) {
  Digest digest;
  digest.update(fmt::format("{}\n", tokens.size()));
  std::vector<std::uint32_t> stretch(std::min(kPlaceTokens, tokens.size()));
  for (std::size_t place = 0; place < kPlaces; ++place) {
    const std::size_t last_first = tokens.size() - stretch.size();
    tokens.copy(last_first * place / (kPlaces - 1), stretch.size(), stretch.data());
    digest.update(std::as_bytes(std::span(stretch)));
  }
  return digest.hex();
}

bool appears(const fs::path& path) {
  const Stopwatch clock;
  std::error_code unreadable;
  while (!fs::exists(path, unreadable)) {
    if (clock.elapsed() > kToAppear) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  return true;
}

}  // namespace

Machine prepare_machine(int threads, const std::string& products,
                        ranks::ProcessGroup& process_group) {
  const kernels::Kernels* kernels = nullptr;
  in_agreement(process_group, [&] {
    kernels = &kernels::select_kernels();
    if (!products.empty()) kernels::use_products(products);
    kernels::products();  // that of the environment may be wrong
  });
  ranks::Site site = ranks::this_site(threads, kernels->name, kernels::products_text());
  read_binding(site);
  Machine machine{*kernels, ranks::gather_sites(site, process_group), 0};
  const auto rank = static_cast<std::size_t>(process_group.rank());
  const std::vector<int> share = ranks::fair_share(machine.sites, rank, cores_of(site.permitted));
  if (!share.empty() && run_on(share)) {
    site.bound_to = std::exchange(site.processors, available_processors()).size();
  }
  machine.sites = ranks::gather_sites(std::move(site), process_group);
  machine.threads = machine.sites[static_cast<std::size_t>(process_group.rank())].threads;
  in_agreement(process_group, [&] {
    ranks::require_same_kernels(machine.sites);
    kernels::prepare_blas(machine.threads);
    // Once more, for a thread that a library started before main.
    parallel(machine.threads, [](int) { flush_denormals(); });
  });
  return machine;
}

namespace {

/// Bytes that the ranks of this one's host are still to allocate.
struct HostMemory {
  double lasting, statistics, evaluation, copy;
  double available;

  double needed() const { return lasting + std::max(statistics, evaluation + copy); }
};

HostMemory memory_of_host(const train::MemoryBudget& budget, const std::vector<ranks::Site>& sites,
                          int rank) {
  const auto here = static_cast<double>(ranks::ranks_beside(sites, rank));
  return {.lasting = here * static_cast<double>(budget.lasting()),
          .statistics = here * static_cast<double>(budget.statistics),
          .evaluation = here * static_cast<double>(budget.evaluation),
          .copy = static_cast<double>(budget.checkpoint),  // of one rank
          .available = static_cast<double>(available_memory())};
}

/// What a rank adds to its address space.
std::uint64_t to_map(const train::MemoryBudget& budget, const ranks::Site& site) {
  return budget.to_allocate() + kernels::blas_address_space(site.threads);
}

}  // namespace

bool fits_memory(const train::MemoryBudget& budget, const std::vector<ranks::Site>& sites,
                 int rank) {
  const HostMemory memory = memory_of_host(budget, sites, rank);
  return memory.needed() <= memory.available &&
         to_map(budget, sites[static_cast<std::size_t>(rank)]) <= address_space_left();
}

void check_memory(const train::MemoryBudget& budget, const std::vector<ranks::Site>& sites,
                  int rank) {
  const ranks::Site& site = sites[static_cast<std::size_t>(rank)];
  const std::uint64_t mapped = to_map(budget, site), limit = address_space_left();
  if (mapped > limit) {
    fail("host {}: a rank needs about {}, and its limit (ulimit -v) leaves {}; raise it", site.host,
         bytes_text(static_cast<double>(mapped)), bytes_text(static_cast<double>(limit)));
  }
  const HostMemory memory = memory_of_host(budget, sites, rank);
  if (memory.needed() <= memory.available) return;
  fail(
      "host {}: the run needs about {} and {} are free; {}", site.host, bytes_text(memory.needed()),
      bytes_text(memory.available),
      memory.lasting + memory.evaluation > memory.available
          ? "make the model smaller, or give fewer --threads, a smaller --micro-batch, --recompute "
            "auto or more hosts"
      : memory.lasting + memory.statistics > memory.available
          ? "give --embedding-init random, or a smaller --embedding-sample"
          : "give --checkpoint-write blocking, which does without a copy of the state");
}

void require_seen_by_all(const fs::path& directory, ranks::ProcessGroup& process_group) {
  if (process_group.size() == 1) return;
  std::optional<Trace> trace;
  const fs::path path = ranks::on_rank_0(process_group, [&] {
    trace.emplace(directory);
    return trace->path().string();
  });
  const std::vector<std::string> seen = process_group.all_gather(appears(path) ? "seen" : "");
  const std::vector<std::size_t> others = ranks::unlike_rank_0(seen);
  if (others.empty()) return;
  const std::vector<std::string> hosts = process_group.all_gather(host_name());
  throw ReplicatedError(fmt::format(
      "--out {}: {} not see what rank 0 (host {}) writes there; give a directory on a "
      "file system that all hosts share",
      directory.string(), ranks::ranks_text(others, hosts) + (others.size() == 1 ? " does" : " do"),
      hosts.front()));
}

void require_same_data(const data::MixedData& data, ranks::ProcessGroup& process_group) {
  if (process_group.size() == 1) return;
  std::string mine;
  for (const data::Dataset& source : data.sources) {
    mine += sample_digest(source.train.tokens) + sample_digest(source.validation.tokens);
  }
  const std::vector<std::string> samples = process_group.all_gather(mine);
  const std::vector<std::size_t> others = ranks::unlike_rank_0(samples);
  if (others.empty()) return;
  const std::vector<std::string> hosts = process_group.all_gather(host_name());
  throw ReplicatedError(fmt::format(
      "--data or --validation-data: {} other tokens than rank 0 (host {}); give files "
      "that all hosts share, or copy them anew",
      ranks::ranks_text(others, hosts) + (others.size() == 1 ? " has" : " have"), hosts.front()));
}

}  // namespace cllm::cli
