#include "cllm/train/batch.h"

namespace cllm::train {

void BatchReader::read(std::uint64_t first, std::size_t count, std::uint32_t* inputs,
                       std::uint32_t* targets) const {
  const std::size_t context = sequences_.context();
  for (std::size_t s = 0; s < count; ++s) {
    sequences_.read(first + s, inputs + s * context, targets + s * context);
  }
}

void BatchReader::mark(std::uint64_t first, std::size_t count, std::span<std::int32_t> marks) {
  for (std::size_t s = 0; s < count; ++s) {
    sequences_.read_inputs(first + s, window_.data());
    for (const std::uint32_t token : window_) marks[token] = 1;
  }
}

}  // namespace cllm::train
