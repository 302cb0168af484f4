#include "cllm/train/state.h"

#include <algorithm>

#include "cllm/base/parallel.h"

namespace cllm::train {

State::State(const model::Layout& layout, std::span<const BufferSpec> specs, int threads)
    : parameters(layout.flat_size()) {
  for (const BufferSpec& spec : specs) buffers.emplace_back(layout, spec);
  parallel(threads, [&](int thread) {
    const auto part = static_cast<std::size_t>(thread);
    const auto parts = static_cast<std::size_t>(threads);
    for (const std::span<float> all : floats()) {
      const std::size_t first = all.size() * part / parts;
      std::ranges::fill(all.subspan(first, all.size() * (part + 1) / parts - first), 0.0f);
    }
  });
}

std::vector<std::span<float>> State::floats() {
  std::vector<std::span<float>> all = {parameters.span()};
  for (StateBuffer& buffer : buffers) all.push_back(buffer.values.span());
  return all;
}

std::vector<std::span<const float>> State::floats() const {
  std::vector<std::span<const float>> all = {parameters.span()};
  for (const StateBuffer& buffer : buffers) all.push_back(buffer.values.span());
  return all;
}

std::uint64_t bytes_of(const model::Layout& layout, std::span<const BufferSpec> buffers) {
  std::uint64_t bytes = 0;
  for (const BufferSpec& spec : buffers) {
    bytes += model::Places(layout, spec.has).size() * sizeof(float);
  }
  return bytes;
}

}  // namespace cllm::train
