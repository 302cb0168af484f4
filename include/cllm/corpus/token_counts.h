#pragma once

#include <cstdint>
#include <vector>

#include "cllm/base/thread_pool.h"
#include "cllm/corpus/token_sample.h"

namespace cllm::corpus {

/// How often each token occurs: (vocabulary). Every token must be below `vocabulary`.
std::vector<std::uint64_t> count_tokens(const TokenSample& tokens, std::uint64_t vocabulary,
                                        ThreadPool& pool);

}  // namespace cllm::corpus
