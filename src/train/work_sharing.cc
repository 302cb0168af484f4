#include "cllm/train/work_sharing.h"

#include <algorithm>
#include <limits>

#include "cllm/base/error.h"

namespace cllm::train {
namespace {

constexpr std::size_t kFewestMicroBatches = 4;
constexpr std::size_t kMostMicroBatchPositions = 512;
constexpr std::size_t kFewestMicroBatchPositions = 192;

constexpr std::size_t kSmallestTokenBlock = 128;
constexpr std::size_t kLargestTokenBlock = 1024;

/// What a team of several threads loses to waiting for each other.
constexpr double kTeamLoss = 1.05;

}  // namespace

Share share_of(std::size_t total, std::size_t index, std::size_t parts) {
  const std::size_t first = total * index / parts;
  return {first, total * (index + 1) / parts - first};
}

std::size_t count_micro_batches(std::size_t batch, std::size_t micro_batch) {
  return (batch + micro_batch - 1) / micro_batch;
}

Share sequences_of(std::size_t index, std::size_t batch, std::size_t micro_batch) {
  const std::size_t first = index * micro_batch;
  return {first, std::min(micro_batch, batch - first)};
}

std::size_t default_micro_batch(std::size_t batch, std::size_t context) {
  const std::size_t large =
      std::min(batch / kFewestMicroBatches, kMostMicroBatchPositions / context);
  const std::size_t small = (kFewestMicroBatchPositions + context - 1) / context;
  if (large >= small) {
    for (std::size_t m = large; 2 * m >= large; --m) {
      if (batch % m == 0) return m;
    }
    return count_micro_batches(batch, count_micro_batches(batch, large));
  }
  for (std::size_t m = small; m <= batch && 2 * m <= 3 * small; ++m) {
    if (batch % m == 0) return m;
  }
  return small >= batch ? batch : count_micro_batches(batch, count_micro_batches(batch, small));
}

std::size_t default_token_block(std::size_t batch_positions, std::size_t micro_batch_positions) {
  const std::size_t half = (batch_positions / 2 + 15) / 16 * 16;
  return std::min(std::clamp(half, kSmallestTokenBlock, kLargestTokenBlock), micro_batch_positions);
}

void check_token_block(std::size_t token_block) {
  if (token_block < 1) fail("--token-block 0: give a number of positions, such as 128");
}

double relative_time(std::size_t teams, std::size_t size, std::size_t micro_batches,
                     std::size_t blocks) {
  const std::size_t rounds = (micro_batches + teams - 1) / teams;
  const std::size_t turns = (blocks + size - 1) / size;  // of token blocks on a thread
  return static_cast<double>(rounds * turns) / static_cast<double>(blocks) *
         (size > 1 ? kTeamLoss : 1.0);
}

std::vector<int> plan_teams(int threads, std::size_t micro_batches, std::size_t blocks, int team) {
  const int most = static_cast<int>(
      std::clamp<std::size_t>(micro_batches, 1, static_cast<std::size_t>(threads)));
  int best = most;
  if (team > 0) {
    best = std::min(most, (threads + team - 1) / team);
  } else {
    double shortest = std::numeric_limits<double>::infinity();
    for (int teams = most; teams >= 1; --teams) {
      const double time =
          relative_time(static_cast<std::size_t>(teams), static_cast<std::size_t>(threads / teams),
                        micro_batches, blocks);
      if (time < shortest) {
        shortest = time;
        best = teams;
      }
    }
  }
  std::vector<int> sizes;
  if (team > 0) {
    for (int left = threads; std::ssize(sizes) < best; left -= team) {
      sizes.push_back(std::min(team, left));
    }
    return sizes;
  }
  for (int i = 0; i < best; ++i) {
    const Share share = share_of(static_cast<std::size_t>(threads), static_cast<std::size_t>(i),
                                 static_cast<std::size_t>(best));
    sizes.push_back(static_cast<int>(share.count));
  }
  return sizes;
}

void check_micro_batch(std::size_t batch, std::size_t micro_batch) {
  if (batch < 1 || batch > kLargestBatch) {
    fail("--batch {}: give a number from 1 to {}", batch, kLargestBatch);
  }
  if (micro_batch < 1 || micro_batch > batch) {
    fail("--micro-batch {}: give a number of sequences from 1 to those of --batch, {}", micro_batch,
         batch);
  }
}

}  // namespace cllm::train
