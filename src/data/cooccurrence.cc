#include "cllm/data/cooccurrence.h"

#include <algorithm>
#include <array>
#include <numeric>
#include <utility>

#include "cllm/base/error.h"

namespace cllm::data {
WindowWeights::WindowWeights(int window) {
  if (window < 1 || window > kLongestWindow) {
    fail("a co-occurrence window of {} tokens is out of range; give 1 to {}", window,
         kLongestWindow);
  }
  std::uint64_t unit = 1;
  const auto longest = static_cast<std::uint64_t>(window);
  for (std::uint64_t d = 1; d <= longest; ++d) unit = std::lcm(unit, d);
  weights_.push_back(0);
  for (std::uint64_t d = 1; d <= longest; ++d) weights_.push_back(unit / d);
}

std::vector<std::uint64_t> cooccurrence_totals(TokenView tokens,
                                               std::span<const std::uint64_t> token_counts,
                                               const WindowWeights& weights) {
  std::uint64_t side = 0;
  for (std::size_t d = 1; d <= weights.window(); ++d) side += weights[d];
  std::vector<std::uint64_t> totals(token_counts.begin(), token_counts.end());
  for (std::uint64_t& total : totals) total *= 2 * side;
  const std::size_t n = tokens.size();
  for (std::size_t p = 0; p < std::min(n, weights.window()); ++p) {
    for (std::size_t d = p + 1; d <= weights.window(); ++d) {
      totals[tokens[p]] -= weights[d];
      totals[tokens[n - 1 - p]] -= weights[d];
    }
  }
  return totals;
}

TokenPositions::TokenPositions(TokenView tokens, std::size_t vocabulary, std::size_t share,
                               std::size_t shares, Crew& crew)
    : shares_(shares), starts_((vocabulary + shares - 1 - share) / shares + 1) {
  // A counting sort: where each part of the corpus puts its positions follows from how many the
  // parts before it have.
  const auto parts = static_cast<std::size_t>(crew.size());
  const std::size_t rows = starts_.size() - 1;
  std::vector<std::vector<std::size_t>> next(parts, std::vector<std::size_t>(rows));
  const auto for_each_place = [&](std::size_t part, const auto& visit) {
    tokens.for_each(tokens.size() * part / parts, tokens.size() * (part + 1) / parts,
                    [&](std::size_t position, std::uint32_t token) {
                      if (token % shares == share) visit(position, next[part][token / shares]);
                    });
  };
  crew.share(parts, [&](std::size_t part, Recorder&) {
    for_each_place(part, [](std::size_t, std::size_t& count) { ++count; });
  });
  std::size_t start = 0;
  for (std::size_t row = 0; row < rows; ++row) {
    for (std::vector<std::size_t>& places : next) start += std::exchange(places[row], start);
    starts_[row + 1] = start;
  }
  positions_.resize(start);
  crew.share(parts, [&](std::size_t part, Recorder&) {
    for_each_place(part,
                   [&](std::size_t position, std::size_t& at) { positions_[at++] = position; });
  });
}

RowCounter::RowCounter(TokenView tokens, std::size_t vocabulary, const WindowWeights& weights)
    : tokens_(tokens), weights_(weights), counts_(vocabulary), touched_((vocabulary + 63) / 64) {}

void RowCounter::accumulate(std::span<const std::uint64_t> positions) {
  const std::size_t window = weights_.window();
  std::array<std::uint32_t, 2 * kLongestWindow + 1> around;
  const auto add = [&](std::uint32_t context, std::uint64_t weight) {
    counts_[context] += weight;
    touched_[context / 64] |= std::uint64_t{1} << (context % 64);
  };
  for (const std::uint64_t position : positions) {
    const std::size_t before = std::min(window, position);
    const std::size_t after = std::min(window, tokens_.size() - 1 - position);
    tokens_.copy(position - before, before + 1 + after, around.data());
    for (std::size_t d = 1; d <= before; ++d) add(around[before - d], weights_[d]);
    for (std::size_t d = 1; d <= after; ++d) add(around[before + d], weights_[d]);
  }
}

}  // namespace cllm::data
