#include "cllm/corpus/rare_tokens.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <vector>

#include "cllm/base/parallel.h"

namespace cllm::corpus {
namespace {

double sum_of_squares(std::span<const float> row) {
  double sum = 0;
  for (const double x : row) sum += x * x;
  return sum;
}

}  // namespace

RareTokens start_rare_tokens(std::span<float> table, std::size_t columns,
                             std::span<const std::uint64_t> counts, const Signatures& signatures,
                             std::uint64_t threshold, int threads) {
  assert(counts.size() == signatures.size() && table.size() >= counts.size() * columns);
  const auto row = [&](std::size_t token) { return table.subspan(token * columns, columns); };
  std::vector<std::uint8_t> is_frequent(counts.size());
  double squares = 0;
  std::size_t frequent = 0;
  for (std::size_t t = 0; t < counts.size(); ++t) {
    if (counts[t] < threshold) continue;
    is_frequent[t] = 1;
    ++frequent;
    squares += sum_of_squares(row(t));
  }
  RareTokens result{.rare = counts.size() - frequent};
  if (result.rare == 0 || frequent == 0) return result;
  const double typical_norm = std::sqrt(squares / static_cast<double>(frequent));

  const RelativeIndex index(signatures, is_frequent);
  struct Worker {
    RelativeIndex::Scratch scratch;
    std::vector<double> sum;
    std::size_t started = 0;
  };
  std::vector<Worker> workers;
  for (int i = 0; i < threads; ++i) {
    workers.push_back({RelativeIndex::Scratch(index), std::vector<double>(columns)});
  }
  // Only rows of frequent tokens are read and only rows of rare ones written: any order will do.
  parallel(threads, [&](int thread) {
    const auto first = static_cast<std::size_t>(thread);
    Worker& mine = workers[first];
    for (std::size_t t = first; t < counts.size(); t += workers.size()) {
      if (is_frequent[t] != 0) continue;
      std::ranges::fill(mine.sum, 0.0);
      for (const Relative& relative :
           index.relatives(static_cast<std::uint32_t>(t), kRelativesOfRareToken, mine.scratch)) {
        const std::span<const float> from = row(relative.token);
        for (std::size_t i = 0; i < columns; ++i) {
          mine.sum[i] += static_cast<double>(relative.similarity) * static_cast<double>(from[i]);
        }
      }
      double norm = 0;
      for (const double x : mine.sum) norm += x * x;
      if (norm == 0) continue;
      const double scale = typical_norm / std::sqrt(norm);
      std::ranges::transform(mine.sum, row(t).begin(),
                             [=](double x) { return static_cast<float>(scale * x); });
      ++mine.started;
    }
  });
  for (const Worker& worker : workers) result.started += worker.started;
  return result;
}

}  // namespace cllm::corpus
