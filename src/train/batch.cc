#include "cllm/train/batch.h"

#include <algorithm>
#include <limits>

#include "cllm/base/error.h"

namespace cllm::train {
namespace {

constexpr std::size_t kFewestUnits = 4;
constexpr std::size_t kMostUnitPositions = 512;
constexpr std::size_t kFewestUnitPositions = 192;

constexpr std::size_t kSmallestRowBlock = 128;
constexpr std::size_t kLargestRowBlock = 1024;

/// What a team of several threads loses to waiting for each other.
constexpr double kTeamLoss = 1.05;

/// With the largest number of steps, sequences are still counted in 64 bits.
constexpr std::size_t kLargestBatch = 1'000'000;

}  // namespace

Share share_of(std::size_t total, std::size_t index, std::size_t parts) {
  const std::size_t first = total * index / parts;
  return {first, total * (index + 1) / parts - first};
}

std::size_t count_units(std::size_t batch, std::size_t micro_batch) {
  return (batch + micro_batch - 1) / micro_batch;
}

Share sequences_of(std::size_t unit, std::size_t batch, std::size_t micro_batch) {
  const std::size_t first = unit * micro_batch;
  return {first, std::min(micro_batch, batch - first)};
}

std::size_t default_micro_batch(std::size_t batch, std::size_t context) {
  const std::size_t large = std::min(batch / kFewestUnits, kMostUnitPositions / context);
  const std::size_t small = (kFewestUnitPositions + context - 1) / context;
  if (large >= small) {
    for (std::size_t m = large; 2 * m >= large; --m) {
      if (batch % m == 0) return m;
    }
    return count_units(batch, count_units(batch, large));
  }
  for (std::size_t m = small; m <= batch && 2 * m <= 3 * small; ++m) {
    if (batch % m == 0) return m;
  }
  return small >= batch ? batch : count_units(batch, count_units(batch, small));
}

std::size_t default_row_block(std::size_t batch_positions, std::size_t unit_positions) {
  const std::size_t half = (batch_positions / 2 + 15) / 16 * 16;
  return std::min(std::clamp(half, kSmallestRowBlock, kLargestRowBlock), unit_positions);
}

void check_row_block(std::size_t row_block) {
  if (row_block < 1) fail("--row-block 0: give a number of positions, such as 128");
}

std::vector<int> plan_teams(int threads, std::size_t units, std::size_t blocks, int team) {
  const int most =
      static_cast<int>(std::clamp<std::size_t>(units, 1, static_cast<std::size_t>(threads)));
  int best = most;
  if (team > 0) {
    best = std::min(most, (threads + team - 1) / team);
  } else {
    double shortest = std::numeric_limits<double>::infinity();
    for (int teams = most; teams >= 1; --teams) {
      const auto size = static_cast<std::size_t>(threads / teams);
      const std::size_t rounds =
          (units + static_cast<std::size_t>(teams) - 1) / static_cast<std::size_t>(teams);
      const std::size_t turns = (blocks + size - 1) / size;  // of row blocks on a thread
      const double time = static_cast<double>(rounds * turns) * (size > 1 ? kTeamLoss : 1.0);
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
