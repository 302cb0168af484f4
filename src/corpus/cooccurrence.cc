#include "cllm/corpus/cooccurrence.h"

#include <algorithm>
#include <array>
#include <limits>
#include <numeric>
#include <utility>

#include "cllm/base/error.h"

namespace cllm::corpus {
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

std::vector<std::uint64_t> cooccurrence_totals(const TokenSample& tokens,
                                               std::span<const std::uint64_t> token_counts,
                                               const WindowWeights& weights) {
  std::uint64_t side = 0;
  for (std::size_t d = 1; d <= weights.window(); ++d) side += weights[d];
  std::vector<std::uint64_t> totals(token_counts.begin(), token_counts.end());
  for (std::uint64_t& total : totals) total *= 2 * side;
  for (std::size_t i = 0; i < tokens.stretches(); ++i) {
    const data::TokenView stretch = tokens.stretch(i);
    const std::size_t n = stretch.size();
    for (std::size_t p = 0; p < std::min(n, weights.window()); ++p) {
      for (std::size_t d = p + 1; d <= weights.window(); ++d) {
        totals[stretch[p]] -= weights[d];
        totals[stretch[n - 1 - p]] -= weights[d];
      }
    }
  }
  return totals;
}

TokenPositions::TokenPositions(const TokenSample& tokens, std::size_t vocabulary,
                               std::span<const std::uint32_t> wanted, ThreadPool& pool)
    : starts_(wanted.size() + 1) {
  constexpr std::uint32_t kNone = std::numeric_limits<std::uint32_t>::max();
  std::vector<std::uint32_t> row_of(vocabulary, kNone);
  for (std::size_t row = 0; row < wanted.size(); ++row) {
    row_of[wanted[row]] = static_cast<std::uint32_t>(row);
  }
  // A counting sort: where each part of the corpus puts its positions follows from how many the
  // parts before it have.
  const auto parts = static_cast<std::size_t>(pool.size());
  std::vector<std::vector<std::size_t>> next(parts, std::vector<std::size_t>(wanted.size()));
  const auto for_each_place = [&](std::size_t part, const auto& visit) {
    tokens.for_each(tokens.size() * part / parts, tokens.size() * (part + 1) / parts,
                    [&](std::size_t position, std::uint32_t token) {
                      if (row_of[token] != kNone) visit(position, next[part][row_of[token]]);
                    });
  };
  pool.share(parts, [&](std::size_t part, Recorder&) {
    for_each_place(part, [](std::size_t, std::size_t& count) { ++count; });
  });
  std::size_t start = 0;
  for (std::size_t row = 0; row < wanted.size(); ++row) {
    for (std::vector<std::size_t>& places : next) start += std::exchange(places[row], start);
    starts_[row + 1] = start;
  }
  positions_.resize(start);
  pool.share(parts, [&](std::size_t part, Recorder&) {
    for_each_place(part, [&](std::size_t position, std::size_t& at) {
      positions_[at++] = static_cast<std::uint32_t>(position);
    });
  });
}

std::uint64_t TokenPositions::bytes_for(std::uint64_t places, std::uint64_t wanted,
                                        std::uint64_t vocabulary, int threads) {
  return sizeof(std::uint32_t) * (places + vocabulary) +
         sizeof(std::size_t) * wanted * static_cast<std::uint64_t>(threads + 1);
}

RowCounter::RowCounter(const TokenSample& tokens, std::size_t vocabulary,
                       const WindowWeights& weights)
    : tokens_(tokens), weights_(weights), counts_(vocabulary), touched_((vocabulary + 63) / 64) {}

void RowCounter::accumulate(std::span<const std::uint32_t> positions) {
  const std::size_t window = weights_.window();
  std::array<std::uint32_t, 2 * kLongestWindow + 1> around;
  const auto add = [&](std::uint32_t context, std::uint64_t weight) {
    counts_[context] += weight;
    touched_[context / 64] |= std::uint64_t{1} << (context % 64);
  };
  for (const std::uint32_t position : positions) {
    const auto [before, after] = tokens_.around(position, window, around.data());
    for (std::size_t d = 1; d <= before; ++d) add(around[before - d], weights_[d]);
    for (std::size_t d = 1; d <= after; ++d) add(around[before + d], weights_[d]);
  }
}

}  // namespace cllm::corpus
