#include "cllm/train/placement.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

namespace cllm::train {
namespace {

bool allows(const Site& site, int processor) {
  return std::ranges::binary_search(site.processors, processor);
}

/// What the ranks of a host come to.
struct Host {
  int ranks = 0, threads = 0;
  std::set<int> processors;
};

std::map<std::string, Host> hosts_of(const std::vector<Site>& sites) {
  std::map<std::string, Host> hosts;
  for (const Site& site : sites) {
    Host& host = hosts[site.host];
    host.ranks += 1;
    host.threads += site.threads;
    host.processors.insert(site.processors.begin(), site.processors.end());
  }
  return hosts;
}

}  // namespace

std::vector<int> threads_of(const std::vector<Site>& sites) {
  std::vector<int> threads;
  for (const Site& site : sites) {
    if (site.threads > 0) {
      threads.push_back(site.threads);
      continue;
    }
    double share = 0;
    for (const int processor : site.processors) {
      share += 1.0 / static_cast<double>(std::ranges::count_if(sites, [&](const Site& other) {
                 return other.host == site.host && allows(other, processor);
               }));
    }
    // A hair more, because thirds don't add up to one.
    threads.push_back(std::max(1, static_cast<int>(share + 1e-6)));
  }
  return threads;
}

std::vector<std::string> placement_warnings(const std::vector<Site>& sites) {
  std::vector<std::string> warnings;
  for (std::size_t rank = 0; rank < sites.size(); ++rank) {
    const Site& site = sites[rank];
    if (site.threads > static_cast<int>(site.processors.size()) && warnings.empty()) {
      warnings.push_back(fmt::format(
          "rank {} has {} threads on the {} its affinity mask allows; give fewer --threads, or "
          "start with mpirun --bind-to none or srun --cpus-per-task",
          rank, site.threads,
          site.processors.size() == 1 ? std::string("one processor")
                                      : fmt::format("{} processors", site.processors.size())));
    }
  }
  for (const auto& [name, host] : hosts_of(sites)) {
    if (warnings.empty() && host.threads > static_cast<int>(host.processors.size())) {
      warnings.push_back(
          fmt::format("host {}: {} ranks with {} threads in all share {} processor{}; start fewer "
                      "ranks or give fewer --threads{}",
                      name, host.ranks, host.threads, host.processors.size(),
                      host.processors.size() == 1 ? "" : "s",
                      host.processors.size() == 1 ? ", or start with mpirun --bind-to none" : ""));
    }
  }
  return warnings;
}

Allreduce allreduce_for(const std::vector<Site>& sites) {
  const auto rank_has_room = [](const Site& site) {
    return site.threads + 1 <= static_cast<int>(site.processors.size());
  };
  const std::map<std::string, Host> hosts = hosts_of(sites);
  if (hosts.size() != 1 || !std::ranges::all_of(sites, rank_has_room)) return Allreduce::kRing;
  const Host& host = hosts.begin()->second;
  return host.threads + host.ranks <= static_cast<int>(host.processors.size()) ? Allreduce::kMpi
                                                                               : Allreduce::kRing;
}

std::uint64_t ranks_beside(const std::vector<Site>& sites, int rank) {
  const std::string& host = sites[static_cast<std::size_t>(rank)].host;
  return static_cast<std::uint64_t>(std::ranges::count(sites, host, &Site::host));
}

std::vector<Site> gather_sites(Site mine, Collective& collective) {
  const nlohmann::json text = {
      {"host", mine.host}, {"processors", mine.processors}, {"threads", mine.threads}};
  std::vector<Site> sites;
  for (const std::string& other : collective.all_gather(text.dump())) {
    const nlohmann::json site = nlohmann::json::parse(other);
    sites.push_back({site.at("host"), site.at("processors"), site.at("threads")});
  }
  const std::vector<int> threads = threads_of(sites);
  for (std::size_t i = 0; i < sites.size(); ++i) sites[i].threads = threads[i];
  return sites;
}

}  // namespace cllm::train
