#include "cllm/corpus/token_counts.h"

#include <utility>

namespace cllm::corpus {

std::vector<std::uint64_t> count_tokens(const TokenSample& tokens, std::uint64_t vocabulary,
                                        ThreadPool& pool) {
  const auto parts = static_cast<std::size_t>(pool.size());
  std::vector<std::vector<std::uint64_t>> counts(parts, std::vector<std::uint64_t>(vocabulary));
  pool.share(parts, [&](std::size_t part, Recorder&) {
    tokens.for_each(tokens.size() * part / parts, tokens.size() * (part + 1) / parts,
                    [&](std::size_t, std::uint32_t token) { ++counts[part][token]; });
  });
  for (std::size_t part = 1; part < parts; ++part) {
    for (std::size_t t = 0; t < vocabulary; ++t) counts[0][t] += counts[part][t];
  }
  return std::move(counts[0]);
}

}  // namespace cllm::corpus
