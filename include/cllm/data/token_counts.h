#pragma once

#include <cstdint>
#include <vector>

#include "cllm/base/crew.h"
#include "cllm/data/token_file.h"

namespace cllm::data {

/// How often each token occurs: (vocabulary). Every token must be below `vocabulary`.
std::vector<std::uint64_t> count_tokens(TokenView tokens, std::uint64_t vocabulary, Crew& crew);

}  // namespace cllm::data
