#include "cllm/train/batch.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <string>

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

std::size_t default_micro_batch(std::size_t batch, std::size_t context) {
  std::size_t best = 1;
  for (std::size_t m = 2; m <= batch / kFewestUnits && m * context <= kMostUnitPositions; ++m) {
    if (batch % m == 0) best = m;
  }
  for (std::size_t m = best; m <= batch && best * context < kFewestUnitPositions; ++m) {
    if (batch % m == 0) best = m;
  }
  return best;
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
  if (micro_batch >= 1 && batch % micro_batch == 0) return;
  std::string divisors;
  for (std::size_t m = 1; m <= std::min<std::size_t>(batch, 64); ++m) {
    if (batch % m == 0) divisors += fmt::format("{}{}", divisors.empty() ? "" : ", ", m);
  }
  fail("--micro-batch {} does not divide --batch {}; use one of {}", micro_batch, batch, divisors);
}

}  // namespace cllm::train
