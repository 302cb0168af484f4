#include "cllm/collectives/cost_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace cllm::collectives {
namespace {

/// Sizes that are looked at: from 64 bytes, a quarter of a doubling apart.
constexpr double kLeast = 64, kMost = 0x1p34, kStep = 1.189207115002721;

/// Latency's share of a sum that is worth its while.
constexpr double kWorthwhile = 0.2;

/// What it takes to get lanes' parts of so many bytes together to the next host, and to add what
/// comes from the one before.
struct Stretch {
  double segment;  ///< that a segment of each lane takes on the link
  double first;    ///< until the first segment is there, and added
  double rest;     ///< from then on until all are
  double all;      ///< that the link takes for all, or a rank's thread, whichever takes longer
};

Stretch stretch(double bytes, bool adds, const Cluster& cluster, const Costs& costs,
                const Tuning& tuning) {
  const auto lanes = static_cast<double>(cluster.lanes);
  const auto longest = static_cast<double>(tuning.segment_bytes);
  const double mine = bytes / lanes, segment = std::min(mine, longest);
  const double per_added_byte = adds ? costs.per_added_byte : 0;
  const double link = bytes * costs.network.per_byte;
  const double link_first = segment * lanes * costs.network.per_byte;
  const double thread_first = 2 * costs.per_message + segment * per_added_byte;
  const double thread = std::ceil(mine / longest) * 2 * costs.per_message + mine * per_added_byte;
  return {.segment = link_first,
          .first = costs.network.latency + link_first + thread_first,
          .rest = std::max(link - link_first, thread - thread_first),
          .all = std::max(link, thread)};
}

double ring(const Cluster& cluster, double bytes, const Costs& costs, const Tuning& tuning) {
  double seconds = 0, tail = 0;
  for (const bool adds : {true, false}) {
    const Stretch s =
        stretch(bytes / static_cast<double>(cluster.hosts), adds, cluster, costs, tuning);
    seconds += static_cast<double>(cluster.hosts - 1) * std::max(s.first, s.all);
    tail = s.first > s.all ? s.rest : s.first - s.segment;  // what shows only at the end
  }
  return seconds + tail;
}

double halving(const Cluster& cluster, double bytes, const Costs& costs, const Tuning& tuning) {
  double seconds = 0;
  const auto hosts = static_cast<int>(cluster.hosts);
  const Schedule schedule(Pattern::kHalving, 0, hosts);
  for (int round = 0; round < 2 * schedule.half(); ++round) {
    const double sent = bytes * schedule.round(round).sent.count / hosts;
    const Stretch s = stretch(sent, round < schedule.half(), cluster, costs, tuning);
    seconds += s.first + s.rest;
  }
  return seconds;
}

/// What ranks of a host do in shared memory: each copies its addends for the other lanes, adds what
/// others have for its own, and copies sums.
double in_memory(const Cluster& cluster, double bytes, const Costs& costs) {
  if (cluster.ranks == 1) return 0;
  const auto lanes = static_cast<double>(cluster.lanes);
  const double others = bytes * (lanes - 1) / lanes, own = bytes / lanes;
  return costs.per_copied_byte * (2 * others + own) +
         costs.per_added_byte * own * static_cast<double>(cluster.ranks - 1);
}

}  // namespace

double seconds_of(Pattern pattern, const Cluster& cluster, std::size_t bytes, const Costs& costs,
                  const Tuning& tuning) {
  const auto size = static_cast<double>(bytes);
  const double memory = in_memory(cluster, size, costs);
  if (cluster.hosts == 1) return memory;
  // A ring begins with the first pieces that a host has added up, halving with all of them.
  return pattern == Pattern::kRing ? std::max(memory, ring(cluster, size, costs, tuning))
                                   : memory + halving(cluster, size, costs, tuning);
}

std::size_t halving_below(const Cluster& cluster, const Costs& costs, const Tuning& tuning) {
  double below = 0;
  for (double bytes = kLeast; bytes < kMost; bytes *= kStep) {
    const auto size = static_cast<std::size_t>(bytes);
    if (seconds_of(Pattern::kHalving, cluster, size, costs, tuning) >=
        seconds_of(Pattern::kRing, cluster, size, costs, tuning)) {
      break;
    }
    below = bytes;
  }
  return static_cast<std::size_t>(below);
}

std::size_t worthwhile_bytes(const Cluster& cluster, const Costs& costs, const Tuning& tuning) {
  if (cluster.hosts == 1) return 0;
  double bytes = kLeast;
  for (; bytes < kMost; bytes *= kStep) {
    const auto size = static_cast<std::size_t>(bytes);
    const double seconds = std::min(seconds_of(Pattern::kHalving, cluster, size, costs, tuning),
                                    seconds_of(Pattern::kRing, cluster, size, costs, tuning));
    Costs without = costs;
    without.network.latency = without.per_message = 0;
    const double of_bytes = std::min(seconds_of(Pattern::kHalving, cluster, size, without, tuning),
                                     seconds_of(Pattern::kRing, cluster, size, without, tuning));
    if (seconds - of_bytes <= kWorthwhile * seconds) break;
  }
  return static_cast<std::size_t>(bytes);
}

Choice choose(const Cluster& cluster, const Costs& costs, const Tuning& tuning) {
  return {.halving_below = halving_below(cluster, costs, tuning),
          .worthwhile_bytes = worthwhile_bytes(cluster, costs, tuning)};
}

std::string text_of(const Choice& choice, const Cluster& cluster, const Costs& costs) {
  if (cluster.hosts == 1) return "in the memory of one host";
  const std::string below = choice.halving_below == 0
                                ? ""
                                : fmt::format("; halving and doubling below {:.3g} KiB",
                                              static_cast<double>(choice.halving_below) / 1024);
  return fmt::format(
      "a ring of {} hosts{} (messages take {:.3g} us and {:.3g} Gbit/s each way, additions {:.3g} "
      "GB/s)",
      cluster.hosts, below, 1e6 * costs.network.latency, 8e-9 / costs.network.per_byte,
      1e-9 / costs.per_added_byte);
}

}  // namespace cllm::collectives
