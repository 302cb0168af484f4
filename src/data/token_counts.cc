#include "cllm/data/token_counts.h"

namespace cllm::data {

std::vector<std::uint64_t> count_tokens(TokenView tokens, std::uint64_t vocabulary) {
  std::vector<std::uint64_t> counts(vocabulary);
  for (std::size_t i = 0; i < tokens.size(); ++i) ++counts[tokens[i]];
  return counts;
}

}  // namespace cllm::data
