#include "cllm/train/batch.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "cllm/base/error.h"

namespace cllm::train {
namespace {

constexpr std::size_t kUnitPositions = 256;
constexpr std::size_t kFewestUnits = 4;

/// With the largest number of steps, sequences are still counted in 64 bits.
constexpr std::size_t kLargestBatch = 1'000'000;

}  // namespace

Share share_of(std::size_t total, std::size_t index, std::size_t parts) {
  const std::size_t first = total * index / parts;
  return {first, total * (index + 1) / parts - first};
}

std::size_t default_micro_batch(std::size_t batch, std::size_t context) {
  const std::size_t most =
      std::min(kUnitPositions / std::max<std::size_t>(context, 1), batch / kFewestUnits);
  std::size_t best = 1;
  for (std::size_t m = 2; m <= most; ++m) {
    if (batch % m == 0) best = m;
  }
  return best;
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
