#include "cllm/ranks/placement.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "cllm/base/control_group.h"
#include "cllm/base/error.h"
#include "cllm/base/memory.h"
#include "cllm/base/processors.h"
#include "cllm/ranks/ranks.h"

namespace cllm::ranks {
namespace {

bool allows(const Site& site, int processor) {
  return std::ranges::binary_search(site.processors, processor);
}

/// What some ranks of a host come to.
struct Share {
  int ranks = 0, threads = 0;
  std::set<int> processors;
};

/// Of each host, its ranks in groups such that no processor is in two.
std::map<std::string, std::vector<Share>> shares_of(const std::vector<Site>& sites) {
  std::map<std::string, std::vector<Share>> shares;
  for (const Site& site : sites) {
    Share mine{1, site.threads, {site.processors.begin(), site.processors.end()}};
    std::erase_if(shares[site.host], [&](const Share& other) {
      const bool meet = std::ranges::any_of(
          other.processors, [&](int processor) { return mine.processors.contains(processor); });
      if (meet) {
        mine.ranks += other.ranks;
        mine.threads += other.threads;
        mine.processors.insert(other.processors.begin(), other.processors.end());
      }
      return meet;
    });
    shares[site.host].push_back(std::move(mine));
  }
  return shares;
}

/// Hosts in the order in which ranks come to them, with the sites of each.
std::vector<std::pair<std::string, std::vector<Site>>> in_order_of_ranks(
    const std::vector<Site>& sites) {
  std::vector<std::pair<std::string, std::vector<Site>>> hosts;
  std::map<std::string, std::size_t> place;
  for (const Site& site : sites) {
    const auto [at, is_new] = place.try_emplace(site.host, hosts.size());
    if (is_new) hosts.push_back({site.host, {}});
    hosts[at->second].second.push_back(site);
  }
  return hosts;
}

/// Processors of a host that its ranks may run on, and those that they could.
struct Reach {
  std::set<int> used, permitted;
  /// Whether ranks could have processors that none of them has.
  bool leaves_idle() const { return !std::ranges::includes(used, permitted); }
};

Reach reach_of(const std::vector<Site>& host) {
  Reach reach;
  for (const Site& site : host) {
    reach.used.insert(site.processors.begin(), site.processors.end());
    reach.permitted.insert(site.permitted.begin(), site.permitted.end());
  }
  return reach;
}

/// Whether Note [Binding] widens the masks of these ranks of a host.
bool is_to_be_widened(const std::vector<Site>& host) {
  const Reach reach = reach_of(host);
  const double quota = host.front().quota;
  const bool suffices = quota > 0 && static_cast<double>(reach.used.size()) >= quota &&
                        std::ranges::includes(reach.permitted, reach.used);
  return reach.leaves_idle() && !suffices && std::ranges::all_of(host, [&](const Site& site) {
           return site.is_bound_by_default && site.permitted == host.front().permitted;
         });
}

/// "host a" or "host a and 3 more".
std::string hosts_text(const std::vector<std::string>& names) {
  return fmt::format("host {}{}", names.front(),
                     names.size() == 1 ? "" : fmt::format(" and {} more", names.size() - 1));
}

std::string memory_text(std::uint64_t bytes) {
  const double gigabytes = static_cast<double>(bytes) / 1e9;
  return fmt::format("{:.{}f} GB", gigabytes, gigabytes < 10 ? 1 : 0);
}

/// One field of all sites.
std::vector<std::string> each(const std::vector<Site>& sites, std::string Site::*field) {
  std::vector<std::string> values;
  for (const Site& site : sites) values.push_back(site.*field);
  return values;
}

}  // namespace

Site this_site(int threads, const std::string& kernels, const std::string& products) {
  const double quota = processor_quota();
  return {.host = host_name(),
          .processors = available_processors(),
          .threads = threads,
          .model = processor_model(),
          .kernels = kernels,
          .products = products,
          .memory = total_memory(),
          .quota = std::isfinite(quota) ? quota : 0};
}

std::vector<int> fair_share(const std::vector<Site>& sites, std::size_t rank,
                            const std::vector<std::vector<int>>& cores) {
  std::vector<Site> host;
  std::size_t place = 0;
  for (std::size_t i = 0; i < sites.size(); ++i) {
    if (sites[i].host != sites[rank].host) continue;
    if (i == rank) place = host.size();
    host.push_back(sites[i]);
  }
  if (cores.empty() || !is_to_be_widened(host)) return {};
  const std::size_t first = cores.size() * place / host.size();
  const std::size_t last = std::max(cores.size() * (place + 1) / host.size(), first + 1);
  std::vector<int> share;
  for (std::size_t core = first; core < last; ++core) {
    share.insert(share.end(), cores[core].begin(), cores[core].end());
  }
  return share;
}

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
    if (site.quota > 0) {
      share = std::min(share, site.quota / static_cast<double>(
                                               std::ranges::count(sites, site.host, &Site::host)));
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
  for (const auto& [name, shares] : shares_of(sites)) {
    for (const Share& share : shares) {
      const std::size_t processors = share.processors.size();
      if (!warnings.empty() || share.threads <= static_cast<int>(processors)) continue;
      warnings.push_back(
          fmt::format("host {}: {} ranks with {} threads in all share {} processor{}; start fewer "
                      "ranks or give fewer --threads{}",
                      name, share.ranks, share.threads, processors, processors == 1 ? "" : "s",
                      processors == 1 || shares.size() > 1
                          ? ", or start with mpirun --bind-to none or srun --cpus-per-task"
                          : ""));
    }
  }
  for (const auto& [name, host] : in_order_of_ranks(sites)) {
    int threads = 0;
    for (const Site& site : host) threads += site.threads;
    const double quota = host.front().quota;
    if (quota == 0 || !warnings.empty()) continue;
    if (threads <= std::max(quota, static_cast<double>(host.size()))) continue;
    warnings.push_back(
        fmt::format("host {}: {} threads in all share the time of {:.3g} processor{}, which is "
                    "what the control "
                    "group may use; give fewer --threads, or ask for more processors",
                    name, threads, quota, quota == 1 ? "" : "s"));
  }
  return warnings;
}

std::vector<std::string> placement_notes(const std::vector<Site>& sites) {
  // Sentences after the name of a host, and the hosts that each is said of.
  std::vector<std::pair<std::string, std::vector<std::string>>> said;
  const auto say_of = [&](const std::string& host, const std::string& text) {
    const auto same = std::ranges::find(said, text, [](const auto& each) { return each.first; });
    if (same == said.end()) {
      said.push_back({text, {host}});
    } else {
      same->second.push_back(host);
    }
  };
  for (const auto& [name, host] : in_order_of_ranks(sites)) {
    const Reach reach = reach_of(host);
    const std::size_t processors = reach.permitted.size();
    const auto used = static_cast<double>(reach.used.size());
    const Site& first = host.front();
    if (first.bound_to > 0 && first.bound_to < processors) {
      say_of(name,
             fmt::format("the launcher bound a rank to {} of {} processors without being "
                         "asked, and the ranks use all of them now; --bind-to core prevents it",
                         first.bound_to, processors));
    } else if (reach.leaves_idle() && (first.quota == 0 || first.quota > used)) {
      say_of(name, fmt::format("ranks may run on {} of {} processors; {} gives them more",
                               reach.used.size(), processors, first.remedy));
    }
    if (first.quota > 0 && first.quota < used) {
      say_of(name, fmt::format("the control group gives ranks the time of {:.3g} of {} processor{}",
                               first.quota, reach.used.size(), reach.used.size() == 1 ? "" : "s"));
    }
  }
  std::vector<std::string> notes;
  for (const auto& [text, hosts] : said) notes.push_back(hosts_text(hosts) + ": " + text);
  return notes;
}

void require_same_kernels(const std::vector<Site>& sites) {
  const std::vector<std::string> kernels = each(sites, &Site::kernels);
  std::vector<std::string> bits = kernels;
  for (std::string& name : bits) {
    if (name != "reference") name = "those of a fixed order";
  }
  const std::vector<std::size_t> others = unlike_rank_0(bits);
  if (others.empty()) return;
  fail(
      "{} computes with the {} kernels, and rank 0 (host {}) with {}, which round otherwise; unset "
      "CLLM_KERNELS, or set it alike for all ranks",
      ranks_text(others, each(sites, &Site::host)), kernels[others.front()], sites.front().host,
      kernels.front());
}

std::string mixture_warning(const std::vector<Site>& sites) {
  const auto is_of_blas = [](const Site& site) { return site.products.starts_with("OpenBLAS"); };
  if (std::ranges::none_of(sites, is_of_blas)) return {};
  const std::vector<std::string> models = each(sites, &Site::model),
                                 products = each(sites, &Site::products);
  const std::vector<std::size_t> other_models = unlike_rank_0(models);
  const std::vector<std::size_t> other_products = unlike_rank_0(products);
  if (other_models.empty() && other_products.empty()) return {};
  const std::vector<std::size_t>& others = other_products.empty() ? other_models : other_products;
  const auto kind_of = [&](std::size_t rank) { return models[rank] + " with " + products[rank]; };
  return fmt::format(
      "ranks have processors that may round matrix products differently: {} with {}, rank 0 (host "
      "{}) with {}; a run with --reduce exact then gives the same bits on the same hosts alone; "
      "without --products openblas they round alike",
      ranks_text(others, each(sites, &Site::host)), kind_of(others.front()), sites.front().host,
      kind_of(0));
}

std::vector<std::string> site_table(const std::vector<Site>& sites) {
  using Row = std::vector<std::string>;
  // What hosts have in common that stand in one line; and their names.
  std::vector<std::pair<Row, std::vector<std::string>>> groups;
  for (const auto& [name, host] : in_order_of_ranks(sites)) {
    const auto [least, most] = std::ranges::minmax(host, {}, &Site::threads);
    std::set<int> processors;
    for (const Site& site : host) processors.insert(site.processors.begin(), site.processors.end());
    const Site& first = host.front();
    const Row row = {fmt::format("{}", host.size()),
                     least.threads == most.threads
                         ? fmt::format("{}", least.threads)
                         : fmt::format("{}-{}", least.threads, most.threads),
                     fmt::format("{}", processors.size()), memory_text(first.memory),
                     fmt::format("{}; {} kernels; {}", first.model, first.kernels, first.products)};
    const auto same = std::ranges::find(groups, row, [](const auto& group) { return group.first; });
    if (same == groups.end()) {
      groups.push_back({row, {name}});
    } else {
      same->second.push_back(name);
    }
  }
  std::vector<Row> rows = {
      {"host", "ranks", "threads each", "processors", "memory", "kind of processor"}};
  for (const auto& [row, names] : groups) {
    rows.push_back(row);
    rows.back().insert(rows.back().begin(), list_text(names));
  }
  std::vector<std::size_t> widths(rows.front().size());
  for (const Row& row : rows) {
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::vector<std::string> lines;
  for (const Row& row : rows) {
    std::string line = fmt::format("{:<{}}", row.front(), widths.front());
    for (std::size_t i = 1; i + 1 < row.size(); ++i) {
      line += fmt::format("  {:>{}}", row[i], widths[i]);
    }
    lines.push_back(line + "  " + row.back());
  }
  return lines;
}

std::uint64_t ranks_beside(const std::vector<Site>& sites, int rank) {
  const std::string& host = sites[static_cast<std::size_t>(rank)].host;
  return static_cast<std::uint64_t>(std::ranges::count(sites, host, &Site::host));
}

std::vector<Site> gather_sites(Site mine, ProcessGroup& process_group) {
  const nlohmann::json text = {{"host", mine.host},           {"processors", mine.processors},
                               {"threads", mine.threads},     {"model", mine.model},
                               {"kernels", mine.kernels},     {"products", mine.products},
                               {"memory", mine.memory},       {"quota", mine.quota},
                               {"permitted", mine.permitted}, {"default", mine.is_bound_by_default},
                               {"bound_to", mine.bound_to},   {"remedy", mine.remedy}};
  std::vector<Site> sites;
  for (const std::string& other : process_group.all_gather(text.dump())) {
    const nlohmann::json site = nlohmann::json::parse(other);
    sites.push_back({.host = site.at("host"),
                     .processors = site.at("processors"),
                     .threads = site.at("threads"),
                     .model = site.at("model"),
                     .kernels = site.at("kernels"),
                     .products = site.at("products"),
                     .memory = site.at("memory"),
                     .quota = site.at("quota"),
                     .permitted = site.at("permitted"),
                     .is_bound_by_default = site.at("default"),
                     .bound_to = site.at("bound_to"),
                     .remedy = site.at("remedy")});
  }
  const std::vector<int> threads = threads_of(sites);
  for (std::size_t i = 0; i < sites.size(); ++i) sites[i].threads = threads[i];
  return sites;
}

}  // namespace cllm::ranks
