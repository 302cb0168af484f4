#include "cllm/train/batch.h"

namespace cllm::train {

void BatchReader::read(std::uint64_t first, std::size_t count, const data::RowView& out) const {
  for (std::size_t s = 0; s < count; ++s) {
    const std::size_t place = s * sequences_.context();
    sequences_.read(first + s, {.inputs = out.inputs + place,
                                .targets = out.targets + place,
                                .begins = out.begins == nullptr ? nullptr : out.begins + place});
  }
}

std::uint64_t BatchReader::counted(std::uint64_t first, std::size_t count) const {
  std::uint64_t sum = 0;
  for (std::size_t s = 0; s < count; ++s) sum += sequences_.counted(first + s);
  return sum;
}

void BatchReader::mark(std::uint64_t first, std::size_t count, std::span<std::int32_t> marks) {
  for (std::size_t s = 0; s < count; ++s) {
    sequences_.read_inputs(first + s, window_.data());
    for (const std::uint32_t token : window_) marks[token] = 1;
  }
}

}  // namespace cllm::train
