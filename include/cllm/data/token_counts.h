#pragma once

#include <cstdint>
#include <vector>

#include "cllm/base/crew.h"
#include "cllm/data/token_sample.h"

namespace cllm::data {

/// How often each token occurs: (vocabulary). Every token must be below `vocabulary`.
std::vector<std::uint64_t> count_tokens(const TokenSample& tokens, std::uint64_t vocabulary,
                                        Crew& crew);

}  // namespace cllm::data
