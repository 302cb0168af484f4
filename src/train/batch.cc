#include "cllm/train/batch.h"

namespace cllm::train {

void BatchReader::read(std::uint64_t first, std::size_t count, std::uint32_t* inputs,
                       std::uint32_t* targets) const {
  for (std::size_t s = 0; s < count; ++s) {
    const std::uint64_t start = sampler_.start(first + s);
    tokens_.copy(start, context_, inputs + s * context_);
    tokens_.copy(start + 1, context_, targets + s * context_);
  }
}

void BatchReader::mark(std::uint64_t first, std::size_t count, std::span<std::int32_t> marks) {
  for (std::size_t s = 0; s < count; ++s) {
    tokens_.copy(sampler_.start(first + s), context_, window_.data());
    for (const std::uint32_t token : window_) marks[token] = 1;
  }
}

}  // namespace cllm::train
