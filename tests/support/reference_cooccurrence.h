#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <span>
#include <vector>

#include "cllm/base/random.h"

namespace cllm::support {

/// Dense co-occurrence counts (V, V) of a corpus, pair by pair.
inline std::vector<std::uint64_t> reference_cooccurrence(std::span<const std::uint32_t> tokens,
                                                         std::size_t vocabulary,
                                                         std::size_t window) {
  std::uint64_t unit = 1;
  for (std::uint64_t d = 1; d <= window; ++d) unit = std::lcm(unit, d);
  std::vector<std::uint64_t> counts(vocabulary * vocabulary);
  for (std::size_t a = 0; a < tokens.size(); ++a) {
    for (std::size_t b = 0; b < tokens.size(); ++b) {
      const std::size_t distance = a < b ? b - a : a - b;
      if (distance == 0 || distance > window) continue;
      counts[tokens[a] * vocabulary + tokens[b]] += unit / distance;
    }
  }
  return counts;
}

/// The PPMI matrix (V, V) of such counts, in double.
inline std::vector<double> reference_ppmi(std::span<const std::uint64_t> counts,
                                          std::size_t vocabulary, double smoothing) {
  std::vector<double> rows(vocabulary), contexts(vocabulary);
  for (std::size_t i = 0; i < vocabulary; ++i) {
    for (std::size_t j = 0; j < vocabulary; ++j) {
      const auto count = static_cast<double>(counts[i * vocabulary + j]);
      rows[i] += count;
      contexts[j] += count;
    }
  }
  double all = 0;
  for (double& context : contexts) {
    context = context > 0 ? std::pow(context, smoothing) : 0;
    all += context;
  }
  std::vector<double> ppmi(vocabulary * vocabulary);
  for (std::size_t i = 0; i < vocabulary; ++i) {
    for (std::size_t j = 0; j < vocabulary; ++j) {
      const auto count = static_cast<double>(counts[i * vocabulary + j]);
      if (count == 0) continue;
      ppmi[i * vocabulary + j] = std::max(0.0, std::log(count * all / (rows[i] * contexts[j])));
    }
  }
  return ppmi;
}

/// Tokens of which the first are the most frequent, every third never occurs, and each often
/// follows the one before by a fixed distance.
inline std::vector<std::uint32_t> uneven_tokens(std::size_t count, std::size_t vocabulary,
                                                std::uint64_t seed) {
  RandomStream random(seed, 0);
  std::vector<std::uint32_t> tokens(count);
  std::uint32_t last = 0;
  for (std::uint32_t& token : tokens) {
    const double at = random.uniform();
    token = random.uniform() < 0.4
                ? (last + 7) % static_cast<std::uint32_t>(vocabulary)
                : static_cast<std::uint32_t>(at * at * at * static_cast<double>(vocabulary));
    if (token % 3 == 2) token -= 1;
    last = token;
  }
  return tokens;
}

}  // namespace cllm::support
