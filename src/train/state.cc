#include "cllm/train/state.h"

#include <algorithm>

#include "cllm/base/parallel.h"

namespace cllm::train {
namespace {

model::Places places_of(const model::Layout& layout, const BufferSpec& spec,
                        const Ownership& ownership) {
  std::vector<std::size_t> sizes;
  for (std::size_t i = 0; i < layout.tensors().size(); ++i) {
    sizes.push_back(spec.has(layout[i].role) ? ownership.own(i).size : 0);
  }
  return model::Places(layout, sizes);
}

}  // namespace

StateBuffer::StateBuffer(const model::Layout& layout, const BufferSpec& spec,
                         const Ownership& ownership)
    : name_(spec.name), places_(places_of(layout, spec, ownership)), values_(places_.size()) {
  for (std::size_t i = 0; i < layout.tensors().size(); ++i) {
    has_.push_back(layout[i].is_trained && spec.has(layout[i].role));
    own_.push_back(ownership.own(i));
  }
}

State::State(const model::Layout& layout, std::span<const BufferSpec> specs, int threads)
    : State(layout, specs, threads, Ownership(layout)) {}

State::State(const model::Layout& layout, std::span<const BufferSpec> specs, int threads,
             const Ownership& ownership)
    : parameters(layout.flat_size()), is_sharded(ownership.is_sharded()) {
  for (const BufferSpec& spec : specs) buffers.emplace_back(layout, spec, ownership);
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
  for (StateBuffer& buffer : buffers) all.push_back(buffer.values());
  return all;
}

std::vector<std::span<const float>> State::floats() const {
  std::vector<std::span<const float>> all = {parameters.span()};
  for (const StateBuffer& buffer : buffers) all.push_back(buffer.values());
  return all;
}

std::vector<std::span<float>> State::replicated() {
  return is_sharded ? std::vector<std::span<float>>{parameters.span()} : floats();
}

std::vector<std::span<const float>> State::replicated() const {
  return is_sharded ? std::vector<std::span<const float>>{parameters.span()} : floats();
}

void copy(std::span<const float> from, std::span<float> to, ThreadPool& pool) {
  constexpr std::size_t kAtOnce = std::size_t{1} << 18;
  pool.share((from.size() + kAtOnce - 1) / kAtOnce, [&](std::size_t i, Recorder&) {
    const std::size_t first = i * kAtOnce;
    const std::size_t count = std::min(kAtOnce, from.size() - first);
    std::ranges::copy(from.subspan(first, count), to.data() + first);
  });
}

std::uint64_t bytes_of(const model::Layout& layout, std::span<const BufferSpec> buffers,
                       const Ownership& ownership) {
  std::uint64_t bytes = 0;
  for (const BufferSpec& spec : buffers) {
    bytes += places_of(layout, spec, ownership).size() * sizeof(float);
  }
  return bytes;
}

}  // namespace cllm::train
