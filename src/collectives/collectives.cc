#include "cllm/collectives/collectives.h"

#include <algorithm>
#include <utility>

#include "cllm/collectives/operation.h"
#include "cllm/ranks/heartbeat.h"

namespace cllm::collectives {
namespace {

/// Addition of these wraps.
std::span<std::uint32_t> bits(std::span<std::int32_t> values) {
  return {reinterpret_cast<std::uint32_t*>(values.data()), values.size()};
}

}  // namespace

std::size_t Collectives::lanes_of(const Hosts& hosts, const Tuning& tuning) {
  const std::size_t fewest = hosts.fewest_ranks();
  return tuning.most_lanes > 0 ? std::min(fewest, tuning.most_lanes) : fewest;
}

Boxes Collectives::boxes_of(const Hosts& hosts, std::size_t host, const Tuning& tuning,
                            std::byte* memory) {
  constexpr std::size_t kPage = 4096;
  const std::size_t lanes = lanes_of(hosts, tuning);
  const std::size_t fair = kMostSharedBytes / (lanes * tuning.slots);
  return {memory, hosts.ranks_of(host).size(), lanes, tuning.slots,
          std::min(tuning.piece_bytes, std::max(fair / kPage * kPage, kPage))};
}

std::size_t Collectives::shared_bytes(const Hosts& hosts, std::size_t host, const Tuning& tuning) {
  return boxes_of(hosts, host, tuning, nullptr).bytes();
}

Collectives::Collectives(Transport& transport, Hosts hosts, std::byte* memory, const Tuning& tuning)
    : transport_(transport),
      hosts_(std::move(hosts)),
      tuning_(tuning),
      pace_(tuning.shortest_sleep_microseconds, tuning.longest_sleep_microseconds),
      lanes_(lanes_of(hosts_, tuning)),
      window_(transport, tuning),
      given_(lanes_),
      got_(lanes_),
      parts_(hosts_.all_ranks()),
      to_give_(lanes_),
      to_get_(lanes_),
      peers_(hosts_.all_ranks()) {
  if (memory != nullptr) {
    boxes_.emplace(boxes_of(hosts_, hosts_.host_of(transport.rank()), tuning, memory));
  }
}

template <typename T>
void Collectives::run(Collective what, std::span<T> values, std::span<const ranks::Part> parts,
                      Method method) {
  Operation<T> operation(*this, what, values, parts, method);
  const std::size_t much = tuning_.in_flight / 4;
  // What is short waits for one message after the other, and is over before it disturbs anyone; so
  // it doesn't sleep the longer for how little comes.
  const bool is_short = values.size_bytes() <= tuning_.in_flight * tuning_.segment_bytes;
  std::size_t since_rest = 0;
  pace_.restart();
  while (!operation.is_complete()) {
    const std::size_t moved = operation.advance();
    since_rest += moved;
    if (moved > 0) {
      ranks::heartbeat().progress();
      continue;
    }
    if (is_short && since_rest > 0) pace_.restart();
    pace_.rest(since_rest > much);
    since_rest = 0;
  }
}

void Collectives::all_reduce(std::span<float> values, Method method) {
  run(Collective::kAllReduce, values, {}, method);
}

void Collectives::all_reduce(std::span<std::int32_t> values, Method method) {
  run(Collective::kAllReduce, bits(values), {}, method);
}

void Collectives::reduce_scatter(std::span<float> values, std::span<const ranks::Part> parts,
                                 Method method) {
  run(Collective::kReduceScatter, values, parts, method);
}

void Collectives::reduce_scatter(std::span<std::int32_t> values, std::span<const ranks::Part> parts,
                                 Method method) {
  run(Collective::kReduceScatter, bits(values), parts, method);
}

void Collectives::all_gather(std::span<float> values, std::span<const ranks::Part> parts,
                             Method method) {
  run(Collective::kAllGather, values, parts, method);
}

}  // namespace cllm::collectives
