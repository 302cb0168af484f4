#include "cllm/io/formats/tensor_archive.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace cllm::io {

std::uint64_t StoredTensor::size() const {
  std::uint64_t size = 1;
  for (const std::uint64_t extent : shape) size *= extent;
  return size;
}

std::string shape_in_words(std::span<const std::uint64_t> shape) {
  return fmt::format("({})", fmt::join(shape, ", "));
}

}  // namespace cllm::io
