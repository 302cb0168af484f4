#include "cllm/train/replicas.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <span>

#include "cllm/base/digest.h"
#include "cllm/base/error.h"
#include "cllm/base/processors.h"
#include "cllm/train/saved_state.h"

namespace cllm::train {
namespace {

/// What a thread digests at a time. Fixed, so that the digest doesn't depend on the threads.
constexpr std::size_t kChunkFloats = std::size_t{1} << 20;

/// The state but its flat buffers, as text.
std::string values_of(const StateValues& state) {
  const nlohmann::json counts = {{"step", state.step}, {"seen", state.tokens_seen}};
  return state_to_json(state, counts.dump());
}

/// The digest that more than half have; empty where none has.
std::string majority_of(const std::vector<std::string>& digests) {
  std::map<std::string, std::size_t> votes;
  for (const std::string& digest : digests) {
    if (2 * ++votes[digest] > digests.size()) return digest;
  }
  return {};
}

/// "rank 1 (host a), rank 3 (host b)": those whose digest is another.
std::string others_text(const std::vector<std::string>& digests, const std::string& digest,
                        const std::vector<std::string>& hosts) {
  std::string text;
  for (std::size_t rank = 0; rank < digests.size(); ++rank) {
    if (digests[rank] == digest) continue;
    text += fmt::format("{}rank {} (host {})", text.empty() ? "" : ", ", rank, hosts[rank]);
  }
  return text;
}

}  // namespace

std::string digest_of(const State& state, ThreadPool& pool) {
  Digest all;
  all.update(values_of(state));
  for (const std::span<const float> floats : state.replicated()) {
    std::vector<std::string> parts((floats.size() + kChunkFloats - 1) / kChunkFloats);
    pool.share(parts.size(), [&](std::size_t i, Recorder&) {
      const std::size_t first = i * kChunkFloats;
      const std::size_t count = std::min(kChunkFloats, floats.size() - first);
      parts[i] = digest_hex(std::as_bytes(floats.subspan(first, count)));
    });
    for (const std::string& part : parts) all.update(part);
  }
  return all.hex();
}

std::string check_replicas(State& state, const model::Layout& layout, OnMismatch action,
                           ThreadPool& pool, ranks::ProcessGroup& process_group) {
  const std::vector<std::string> digests = process_group.all_gather(digest_of(state, pool));
  if (std::ranges::count(digests, digests[0]) == std::ssize(digests)) return {};
  const std::vector<std::string> hosts = process_group.all_gather(host_name());
  const std::string majority = majority_of(digests);
  std::string found = fmt::format("after step {} the weights of ", state.step);
  if (majority.empty()) {
    found += fmt::format("{} are not those of rank 0 (host {}), and no more than half agree",
                         others_text(digests, digests[0], hosts), hosts[0]);
  } else {
    found +=
        fmt::format("{} are not those of the other {} ranks", others_text(digests, majority, hosts),
                    std::ranges::count(digests, majority));
  }
  if (action == OnMismatch::kStop || digests[0] != majority) {
    throw ReplicatedError(found +
                          "; test the memory of these hosts, and go on from the last checkpoint");
  }
  broadcast_state(process_group, layout, state);
  return found + "; they now have rank 0's";
}

}  // namespace cllm::train
