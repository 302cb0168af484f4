#include "cllm/collectives/simulated_sums.h"

#include <algorithm>

#include "cllm/collectives/part_walk.h"

namespace cllm::collectives {
namespace {

Hosts alike(std::size_t hosts, std::size_t ranks_per_host) {
  std::vector<int> host_of;
  for (std::size_t rank = 0; rank < hosts * ranks_per_host; ++rank) {
    host_of.push_back(static_cast<int>(rank / ranks_per_host));
  }
  return Hosts(host_of);
}

}  // namespace

SimulatedSums::SimulatedSums(std::size_t hosts, std::size_t ranks_per_host, const Costs& costs,
                             const Tuning& tuning)
    : hosts_(alike(hosts, ranks_per_host)), costs_(costs), tuning_(tuning) {
  VirtualRanks one_host(hosts_, costs_, tuning_, Simulated::kOneHost);
  cluster_ = {.hosts = hosts, .ranks = ranks_per_host, .lanes = one_host.rank(0).lanes()};
}

std::size_t SimulatedSums::bytes_per_rank() const {
  const std::size_t shared =
      cluster_.ranks == 1 ? 0 : Collectives::shared_bytes(hosts_, 0, tuning_) / cluster_.ranks;
  return tuning_.in_flight * tuning_.segment_bytes + shared;
}

SimulatedSums::Time SimulatedSums::run(Simulated simulated, Collective what, std::size_t elements,
                                       std::span<const ranks::Part> parts, Pattern pattern) {
  if (untouched_.size() < elements) untouched_ = AlignedBuffer<float>(elements);
  const std::vector<std::span<float>> values(hosts_.all_ranks(), untouched_.span().first(elements));
  VirtualRanks ranks(hosts_, costs_, tuning_, simulated);
  const VirtualNetwork& network = ranks.network();
  Time time;
  time.seconds = ranks.run<float>(what, values, parts, {.pattern = pattern});
  for (const int rank : network.ranks()) time.busy = std::max(time.busy, network.busy(rank));
  time.bytes = static_cast<double>(network.bytes()) / static_cast<double>(network.ranks().size());
  return time;
}

SimulatedSums::Time SimulatedSums::even(Collective what, std::size_t bytes, Pattern pattern) {
  const std::size_t all = hosts_.all_ranks();
  if (bytes == 0 || all == 1) return {};
  const auto [known, is_new] = known_.try_emplace({what, bytes, pattern});
  if (!is_new) return known->second;
  const std::size_t elements = (bytes + all * sizeof(float) - 1) / (all * sizeof(float)) * all;
  std::vector<ranks::Part> parts;
  if (what != Collective::kAllReduce) {
    for (std::size_t rank = 0; rank < all; ++rank) {
      parts.push_back(part_of({0, elements}, all, rank));
    }
  }
  return known->second = run(Simulated::kOneHost, what, elements, parts, pattern);
}

SimulatedSums::Time SimulatedSums::all_gather(std::span<const ranks::Part> parts, Pattern pattern) {
  std::size_t elements = 0;
  for (const ranks::Part& part : parts) elements = std::max(elements, part.offset + part.size);
  if (elements == 0 || hosts_.all_ranks() == 1) return {};
  return run(Simulated::kTimes, Collective::kAllGather, elements, parts, pattern);
}

}  // namespace cllm::collectives
