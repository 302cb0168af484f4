#include "cllm/io/formats/tensor_archive.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "cllm/base/error.h"

namespace cllm::io {

std::uint64_t StoredTensor::size() const {
  std::uint64_t size = 1;
  for (const std::uint64_t extent : shape) size *= extent;
  return size;
}

std::string shape_in_words(std::span<const std::uint64_t> shape) {
  return fmt::format("({})", fmt::join(shape, ", "));
}

void require_plain_name(const std::string& name, const std::string& file) {
  const auto is_control = [](unsigned char c) { return c < ' ' || c == 0x7f; };
  if (std::ranges::any_of(name, is_control)) {
    fail("{} has a tensor with control characters in its name; it is corrupt", file);
  }
}

}  // namespace cllm::io
